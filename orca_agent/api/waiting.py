"""Waits for runs on behalf of who asked for them: until they have ended, or until the caller has gone.

Who goes away before the end wants no answer: the runs that this very request began are cancelled, unless it said
``on_disconnect=continue``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from orca_agent.api.services import Services
from orca_agent.work.finished import read_finished
from orca_agent.work.lease import is_of_the_world
from orca_agent.work.queue import Stored
from orca_agent.work.runner import Finished
from orca_agent.work.states import AWAITING, FAILED, SCHEDULED, RunState
from orca_http.bounds import own_time
from orca_http.reading import choice_of, one_of
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

#: what no caller waits for
WAITS = (SCHEDULED, AWAITING)

_CHOICES = ("cancel", "continue")
#: what stands before the reason of a run that failed for something that is wrong with it
_MODEL = re.compile(r"(model_unavailable|model_ambiguous|mcp_not_admitted): (.*)", re.DOTALL)


def on_disconnect(default: str) -> dict[str, Any]:
    """Return what a route says of the choice in the OpenAPI document."""
    return {"name": "on_disconnect", "in": "query", "schema": {**one_of(_CHOICES), "default": default}}


ON_DISCONNECT = on_disconnect("cancel")


def is_kept(request: Request) -> bool:
    """Whether the request's runs go on without their caller. Raises InvalidError ``query``."""
    return choice_of(request, "on_disconnect", _CHOICES) == "continue"


def is_ended_by_leaving(request: Request) -> bool:
    """Whether who follows a run wants it ended when they go. Raises InvalidError ``query``."""
    return choice_of(request, "on_disconnect", _CHOICES) == "cancel"


async def until_ended(request: Request, services: Services, stored: Sequence[Stored], *, kept: bool) -> None:
    """Return when every run has ended, or waits for its moment or for a person.

    Raises ClientDisconnect, InvalidError ``stopping``, ``run_goes_on``.

    Both are for the caller to correct: a second try of the same request would be a second run, and the first one goes on.
    """
    own_time(request.scope)
    if await _is_gone_before_the_end(request, services, stored):
        if not kept:
            await leave(services, stored)
        raise ClientDisconnect


async def leave(services: Services, stored: Sequence[Stored]) -> None:
    """Cancel the runs of a caller who has gone, as far as this very request began them."""
    for run in stored:
        if run.is_new:
            try:
                await services.queue.cancel(run.run_id)
            except InvalidError:
                continue  # it ended meanwhile


async def outcome_of(services: Services, run_id: str) -> Finished | RunState:
    """Return a run that has ended, or how it stands if it waits for its moment or for a person. Raises as ``ended_run`` does."""
    state = await services.queue.state(run_id)
    return state if state.status in WAITS else await _ended(services, state)


async def ended_run(services: Services, run_id: str) -> Finished:
    """Return a run that should have ended. Raises what it failed of, or InvalidError ``run_goes_on`` if it has not."""
    return await _ended(services, await services.queue.state(run_id))


async def _ended(services: Services, state: RunState) -> Finished:
    run_id = state.run.id
    if state.run.status is None:
        raise InvalidError("run_goes_on", f"run {run_id} is {state.status} and goes on: GET /v1/runs/{run_id}")
    if state.run.status == FAILED:
        raise failure_of(run_id, state.reason or "")
    return await read_finished(state.run, services.journal)


def failure_of(run_id: str, reason: str) -> OrcaError:
    """Return the error of a run that ended without an output."""
    wrong = _MODEL.fullmatch(reason)
    if wrong is not None:
        kind = UnavailableError if is_of_the_world(reason) else InvalidError
        return kind(wrong.group(1), wrong.group(2))
    return InvalidError("run_failed", f"run {run_id} could not be run: {reason}")


async def until_gone(receive: Receive) -> None:
    """Return when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _is_gone_before_the_end(request: Request, services: Services, stored: Sequence[Stored]) -> bool:
    """Wait until the runs have ended (False) or their caller has gone (True)."""
    gone = asyncio.create_task(until_gone(request.receive))
    ended = asyncio.create_task(_until_closed(services, stored))
    stopping = asyncio.create_task(services.stopping.wait())
    waiting = {gone, ended, stopping}
    try:
        limit = services.settings.completion_seconds
        await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
            return False
        if gone.done():
            return True
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    names = ", ".join(run.run_id for run in stored)
    if services.stopping.is_set():
        raise InvalidError("stopping", f"this service is being stopped; run {names} goes on when it is back, read it then")
    raise InvalidError("run_goes_on", f"run {names} has not ended within {limit:g} s and goes on: GET /v1/runs/ID")


async def _until_closed(services: Services, stored: Sequence[Stored]) -> None:
    for run in stored:
        while (await services.queue.state(run.run_id)).status not in WAITS:
            if await services.events.until_closed(run.run_id, 1.0):
                break
