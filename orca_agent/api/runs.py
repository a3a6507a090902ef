"""Runs: stored under a name of the caller's, read, listed, cancelled, followed; and what they said, and its proof."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from orca_agent.api.access import Caller, caller_of
from orca_agent.api.documents import run_document
from orca_agent.api.followers import Followers
from orca_agent.api.services import Services
from orca_agent.api.streams import EventStream
from orca_agent.api.waiting import is_ended_by_leaving, on_disconnect
from orca_agent.work.finished import read_finished
from orca_agent.work.inputs import Given
from orca_agent.work.queue import Stored
from orca_agent.work.response import completion
from orca_agent.work.runner import Finished
from orca_agent.work.states import AWAITING, FAILED, STATUSES, RunState
from orca_engine.item import Item
from orca_http.answers import json_answer, respond
from orca_http.reading import body_schema, choice_of, idempotency_key_of, one_of, place_of, read_json
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError
from orca_protocol.model import Strict
from orca_protocol.world import Input

YEAR = 365 * 24 * 3600.0
_ID = re.compile(r"[0-9a-f-]{36}")
_PAGE = 100
#: what a caller's key becomes in the queue, where others have keys too
KEYS = "http:"
KEY_LONGEST = 200


class RunRequest(Strict):
    """What a caller posts."""

    #: a SwarmSpec: as text, its exact bytes are kept; as an object, its canonical form is
    spec: str | dict[str, Any]
    #: seconds from now until the run is ended; what was answered is kept
    timeout: Annotated[float, Field(gt=0, le=YEAR)] | None = None


class InputBody(Strict):
    """What a person says to a run that asked."""

    content: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    #: of what was asked; needed where several people are
    path: Annotated[str, Field(pattern=r"^[0-9]{1,7}(\.[0-9]{1,7}){4}$")] | None = None


def routes(services: Services, followers: Followers) -> APIRouter:
    """Return the router of ``/v1/runs``."""
    router = APIRouter(prefix="/v1/runs", tags=["runs"])
    runs = _Runs(services, followers)
    create = {**body_schema(RunRequest), "parameters": [IDEMPOTENCY]}
    router.add_api_route("", runs.create, methods=["POST"], openapi_extra=create, status_code=202, response_class=Response)
    router.add_api_route("", runs.page, methods=["GET"], openapi_extra=_PAGE_PARAMETERS, response_class=Response)
    router.add_api_route("/{run_id}", runs.read, methods=["GET"], response_class=Response)
    router.add_api_route("/{run_id}/cancel", runs.cancel, methods=["POST"], status_code=202, response_class=Response)
    give = {**body_schema(InputBody), "parameters": [IDEMPOTENCY]}
    router.add_api_route(
        "/{run_id}/input", runs.give_input, methods=["POST"], openapi_extra=give, status_code=202, response_class=Response
    )
    router.add_api_route("/{run_id}/events", runs.events, methods=["GET"], openapi_extra=_EVENTS, response_class=Response)
    router.add_api_route("/{run_id}/output", runs.output, methods=["GET"], response_class=Response)
    router.add_api_route("/{run_id}/proof", runs.proof, methods=["GET"], response_class=Response)
    return router


IDEMPOTENCY = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": KEY_LONGEST}}
_AFTER = {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 0}}
_PAGE_PARAMETERS = {"parameters": [{"name": "status", "in": "query", "schema": one_of(STATUSES)}, _AFTER]}
_EVENTS = {
    "parameters": [
        {"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer", "minimum": 0}},
        _AFTER,
        on_disconnect("continue"),
    ],
    "responses": {"200": {"description": "the run's events", "content": {"text/event-stream": {}}}},
}


class _Runs:
    """The handlers."""

    def __init__(self, services: Services, followers: Followers) -> None:
        self._services = services
        self._followers = followers

    async def create(self, request: Request) -> Response:
        """Store a run; it is begun as soon as a worker is free, and ``position`` says how many wait before it.

        The same key and body get the same run again.
        """
        wanted = await read_json(request, RunRequest, max_bytes=self._services.settings.body_bytes)
        spec = wanted.spec.encode("utf-8", "surrogatepass") if isinstance(wanted.spec, str) else canonical(wanted.spec)
        stored = await store(request, self._services, spec, timeout=wanted.timeout)
        document = run_document(await self._services.queue.state(stored.run_id))
        return respond(json_answer(202, document), location=f"/v1/runs/{stored.run_id}")

    async def page(self, request: Request) -> Response:
        """List the caller's runs, for an admin everybody's, in the order in which they came.

        ``after`` of the answer asks for the next page.
        """
        status = choice_of(request, "status", STATUSES)
        after = place_of(request, "after", what="the place of the last run you have seen")
        caller = caller_of(request)
        owner = None if caller.is_admin else caller.owner
        found = await self._services.queue.states(status=status, after=after, limit=_PAGE, owner=owner)
        more = str(found[-1].place) if len(found) == _PAGE else None
        return respond(json_answer(200, {"runs": [run_document(state) for state in found], "after": more}))

    async def read(self, request: Request, run_id: str) -> Response:
        """Say how a run stands, what it waits for people to answer, and while it is queued, how many wait before it."""
        return respond(json_answer(200, await shown(self._services, await self._state(request, run_id))))

    async def give_input(self, request: Request, run_id: str) -> Response:
        """Answer what a run asks. The first answer counts; the same again is accepted again, another one is refused."""
        wanted = await read_json(request, InputBody, max_bytes=self._services.settings.body_bytes)
        await self._state(request, run_id)
        if caller_of(request).is_betrayed_by(wanted.content.encode()):
            raise InvalidError("secret_in_input", "the input contains the API key that came with it; proofs are public")
        key = idempotency_key_of(request, longest=KEY_LONGEST)
        await self._services.intake.give_input(run_id, Given(Input(content=wanted.content), wanted.path, key))
        document = await shown(self._services, await self._state(request, run_id))
        return respond(json_answer(202, document), location=f"/v1/runs/{run_id}")

    async def cancel(self, request: Request, run_id: str) -> Response:
        """Want a run ended. It ends within moments, with what was answered by then."""
        await self._state(request, run_id)
        await self._services.queue.cancel(run_id)
        document = run_document(await self._state(request, run_id))
        return respond(json_answer(202, document), location=f"/v1/runs/{run_id}")

    async def events(self, request: Request, run_id: str) -> Response:
        """Follow a run's events; from after ``Last-Event-ID`` (or ``after``) where one is named, else from the first.

        Who goes away changes nothing, unless the request said ``on_disconnect=cancel``.
        """
        name = "last-event-id"
        if name in request.headers:
            after = _number(request.headers[name])
        else:
            after = place_of(request, "after", what="the number of the last event you have seen")
        ends = is_ended_by_leaving(request)
        if ends:
            caller_of(request).refuse_without("run")
        await self._state(request, run_id)
        extent = await self._services.events.extent(run_id)
        if extent.is_closed:
            if after >= extent.last:  # this is how a browser's EventSource is told not to come again
                return Response(status_code=204)
            if not await self._services.events.read(run_id, after, 1):
                raise InvalidError("events_forgotten", f"the events of run {run_id} were deleted; its output is kept")
        self._followers.admit()
        return EventStream(self._services, self._followers, run_id, after, is_ended_by_leaving=ends)

    async def output(self, request: Request, run_id: str) -> Response:
        """Return what the run said, as ``/v1/swarm/completions`` does."""
        found = await self._finished(request, run_id)
        return respond(json_answer(200, completion(found, await self._services.bill(found))))

    async def proof(self, request: Request, run_id: str) -> Response:
        """Make the run's proof, if it is not made yet, and say where it is."""
        if self._services.prover is None:
            raise InvalidError("proof_unavailable", "this service makes no proofs")
        found = await self._services.prover.prove(await self._finished(request, run_id))
        return respond(json_answer(200, {"run": run_id, "cid": found.cid, "signer": found.signer}))

    async def _state(self, request: Request, run_id: str) -> RunState:
        return await visible(request, self._services, run_id)

    async def _finished(self, request: Request, run_id: str) -> Finished:
        return await finished(self._services, await self._state(request, run_id))


async def visible(request: HTTPConnection, services: Services, run_id: str) -> RunState:
    """Return how a run stands, if it is the caller's business. Raises InvalidError ``run_unknown``, also for another's run."""
    if _ID.fullmatch(run_id):
        state = await services.queue.state(run_id)
        if caller_of(request).sees(state.owner):
            return state
    raise InvalidError("run_unknown", f"there is no run {run_id[:36]}")


async def store(request: Request, services: Services, spec: bytes, *, timeout: float | None = None) -> Stored:
    """Store the caller's run of ``spec`` under the request's key, or under a fresh one. Raises as ``Intake.submit`` does."""
    key = idempotency_key_of(request, longest=KEY_LONGEST) or str(uuid.uuid4())
    return await store_as(key, request, services, spec, timeout=timeout)


async def store_as(key: str, request: Request, services: Services, spec: bytes, *, timeout: float | None = None) -> Stored:
    """Store the caller's run of ``spec`` under ``key``. Raises as ``Intake.submit`` does.

    A key is its caller's own: two callers may use the same. What a caller shows at the door must not get into the spec, which is
    public.
    """
    caller = caller_of(request)
    item = await asyncio.to_thread(Item.local, spec)
    # Its bytes are kept, and what they spell is told to models: neither may hold the key.
    if caller.is_betrayed_by(spec) or caller.is_betrayed_by(item.spec.model_dump_json().encode()):
        raise InvalidError("secret_in_spec", "the spec contains the API key that came with it; specs and proofs are public")
    budgets, schedule = (services.settings.budget,), item.spec.schedule
    key = keys_of(caller) + key
    return await services.intake.submit(
        item, spec, key=key, timeout=timeout, budgets=budgets, owner=caller.owner, schedule=schedule
    )


def keys_of(caller: Caller) -> str:
    """Return what the idempotency keys of a caller begin with in the queue; the operator's own begin as everybody's do."""
    return KEYS if caller.owner is None else f"{KEYS}{caller.owner}:"


async def shown(services: Services, state: RunState) -> dict[str, Any]:
    """Return the run as people see it, with what it waits for."""
    return run_document(state, await services.queue.questions(state.run.id) if state.status == AWAITING else ())


async def finished(services: Services, state: RunState) -> Finished:
    """Return a run that has ended. Raises InvalidError ``run_unended``, ``output_absent``."""
    if state.run.status == FAILED:
        raise InvalidError("output_absent", f"run {state.run.id} failed and has no output: {state.reason}")
    return await read_finished(state.run, services.journal)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidError("query", "Last-Event-ID: the number of the last event you have seen")
    return int(text)
