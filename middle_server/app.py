"""Puts the middle server together: one function from settings and a chain to an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.types import ASGIApp

from middle_server.api import health, network, verdicts, work_items, worker
from middle_server.api.problems import PROBLEMS
from middle_server.api.services import Services
from middle_server.chain import Chain
from middle_server.gate import StakeGate
from middle_server.settings import MiddleSettings
from middle_server.store.answers import forget
from middle_server.store.database import Database
from middle_server.store.leases import take_back_late
from orca_http.bounds import Bounds
from orca_protocol.errors import UnavailableError

_log = logging.getLogger(__name__)


def create_app(settings: MiddleSettings, chain: Chain, *, clock: Callable[[], float] = time.time) -> ASGIApp:
    """Return the application. The database must be migrated; ``clock`` tells Unix time.

    There is no CORS header anywhere: a browser page of another origin gets nothing.
    """
    services = Services(
        settings=settings,
        database=Database(settings.database_url, pool_size=settings.pool_size, seconds=settings.database_seconds),
        chain=chain,
        gate=StakeGate(
            chain,
            at_least=settings.stake_at_least,
            fresh_seconds=settings.stake_fresh_seconds,
            chain_seconds=settings.chain_seconds,
            clock=clock,
        ),
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.database.open()
        stopping = asyncio.Event()
        sweeping = asyncio.create_task(_sweep_until(stopping, services))
        try:
            yield
        finally:
            # It is let finish: a statement that is broken off could end as another error than the cancellation.
            stopping.set()
            await sweeping
            await services.database.close()

    app = FastAPI(title="Orca middle server", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    for router in (health, worker, work_items, verdicts, network):
        app.include_router(router.routes(services))
    PROBLEMS.install(app)
    return Bounds(app, PROBLEMS, body_bytes=settings.body_bytes, seconds=settings.request_seconds, log="middle_server.access")


async def sweep(services: Services) -> None:
    """Take back what is late and forget what could not come again. Any number of processes may do so at once."""
    now = services.now()
    async with services.database.transaction() as connection:
        await take_back_late(connection, attempts_at_most=services.settings.attempts_at_most, now=now)
    async with services.database.transaction() as connection:
        await forget(connection, now)


async def _sweep_until(stopping: asyncio.Event, services: Services) -> None:
    while not stopping.is_set():
        try:
            await sweep(services)
        except UnavailableError as error:
            _log.warning("nothing was swept: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), services.settings.sweep_seconds)
