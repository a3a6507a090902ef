"""Doing something once: the same request again gets the answer it got, also from another process and after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from middle_server.api.problems import node_problem
from middle_server.api.services import Services
from middle_server.rules.repeats import Asked
from middle_server.store.answers import keep, peek, reserve
from middle_server.store.database import Connection
from orca_http.answers import Answer
from orca_protocol.errors import InvalidError

Act = Callable[[Connection], Awaitable[Answer]]


async def answered(services: Services, asked: Asked | None, now: datetime) -> Answer | None:
    """Return what was answered to this request before. Raises InvalidError ``request_reused``."""
    if asked is None:
        return None
    async with services.database.transaction() as connection:
        return await peek(connection, asked, now)


async def once(
    services: Services,
    asked: Asked | None,
    act: Act,
    *,
    now: datetime,
    expires: datetime,
    at_most: int,
    keep_refusals: bool = False,
) -> Answer:
    """Do ``act`` and keep its answer, in one transaction; or return the answer kept before.

    A refusal (InvalidError) changes nothing and is raised. With ``keep_refusals`` it is also kept, so that who caught a
    request that was refused gets nothing by sending it again; only for askers that cannot make up any number of names.
    """
    async with services.database.transaction() as connection:
        if asked is None:
            return await act(connection)
        before = await reserve(connection, asked, now=now, expires=expires, at_most=at_most)
        if before is not None:
            return before
        try:
            async with connection.transaction():
                given = await act(connection)
        except InvalidError as error:
            if not keep_refusals:
                raise
            given = node_problem(error)
        await keep(connection, asked, given)
        return given
