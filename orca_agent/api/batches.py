"""Many swarms, or many agents, in one request: a list in, a list out in the same order, once all have ended.

A body that is no list of objects, or too long a list, is refused before anything is run. Beyond that each member stands for
itself: it is refused, fails or answers, and the others do not notice. Every member is a run of its own, side by side with the
others as far as the queue has workers. Where not a single member could be taken in, because the queue is full or does not
answer, that is the answer.

    swarms   {status, swarm_name, job_id, result, usage}, or {status: "error", swarm_name, job_id, code, detail}
    agents   what /v1/agent/completions answers, or {success: false, name, job_id, code, detail}
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.completions import agent_document, error_of
from orca_agent.api.runs import IDEMPOTENCY, KEY_LONGEST, store_as
from orca_agent.api.services import Services
from orca_agent.api.translation import AgentRequest, agent_in, swarm_of
from orca_agent.api.waiting import ON_DISCONNECT, is_kept, outcome_of, until_ended
from orca_agent.models.retry import stamp
from orca_agent.work.queue import Stored
from orca_agent.work.response import completion
from orca_agent.work.runner import Finished
from orca_agent.work.states import RunState
from orca_http.answers import Answer, json_answer, respond
from orca_http.reading import body_schema, idempotency_key_of, refuse_other_media
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.spec import SwarmSpec

#: the Swarms API has no bound on swarms, and this one on agents
SWARMS_MAX = 100
AGENTS_MAX = 10
_PARAMETERS = {"parameters": [IDEMPOTENCY, ON_DISCONNECT]}
_NAMES = uuid.UUID("5f0c8a52-3f0e-4c0c-9d53-6d0a4d9a4f5e")

#: what became of a member: its run, or why there is none
Member = Stored | OrcaError


def routes(services: Services) -> APIRouter:
    """Return the router of both."""
    router = APIRouter(prefix="/v1", tags=["completions"])
    batches = _Batches(services)
    for path, handler, kind, most in (
        ("/swarm/batch/completions", batches.swarms, SwarmSpec, SWARMS_MAX),
        ("/agent/batch/completions", batches.agents, AgentRequest, AGENTS_MAX),
    ):
        extra = {**body_schema(kind, at_most=most), **_PARAMETERS}
        router.add_api_route(path, handler, methods=["POST"], openapi_extra=extra, response_class=Response)
    return router


class _Batches:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def swarms(self, request: Request) -> Response:
        """Run every swarm of a list and answer with what each said."""
        members = await self._members(request, SWARMS_MAX)
        runs = await self._run(request, [partial(_spec_of, given) for given in members])
        rows = [await self._swarm(given, run) for given, run in zip(members, runs, strict=True)]
        return respond(Answer(200, "application/json", canonical(rows)))

    async def agents(self, request: Request) -> Response:
        """Run every agent of a list, each on its own task, and answer with what each said."""
        began = datetime.now(UTC)
        members = await self._members(request, AGENTS_MAX)
        runs = await self._run(request, [partial(_agent_of, given, at) for at, given in enumerate(members)])
        ended = datetime.now(UTC)
        document = {
            "batch_id": str(uuid.uuid5(_NAMES, idempotency_key_of(request, longest=KEY_LONGEST) or str(uuid.uuid4()))),
            "total_requests": len(members),
            "execution_time": round((ended - began).total_seconds(), 3),
            "results": [await self._agent(given, run) for given, run in zip(members, runs, strict=True)],
            "timestamp": stamp(ended),
        }
        return respond(json_answer(200, document))

    async def _members(self, request: Request, most: int) -> list[dict[str, Any]]:
        """Return the body's members. Raises InvalidError ``schema`` for what is no list of objects of a bounded length."""
        refuse_other_media(request)
        found = parse_json(await request.body(), max_bytes=self._services.settings.body_bytes, where="body")
        if not isinstance(found, list) or not 0 < len(found) <= most:
            raise InvalidError("schema", f"body: a batch is a list of 1 to {most} requests")
        for index, member in enumerate(found):
            if not isinstance(member, dict):
                raise InvalidError("schema", f"body: [{index}]: a request is an object")
        return found

    async def _run(self, request: Request, specs: Sequence[Callable[[], bytes]]) -> list[Member]:
        """Store a run for each member that can be run, and wait until all of these have ended."""
        kept = is_kept(request)
        key = idempotency_key_of(request, longest=KEY_LONGEST) or str(uuid.uuid4())
        members = [await self._stored(request, f"{key}/{place}", spec) for place, spec in enumerate(specs)]
        refusals = [member for member in members if isinstance(member, OrcaError)]
        if len(refusals) == len(members) and not any(isinstance(refusal, InvalidError) for refusal in refusals):
            raise refusals[0]
        runs = [member for member in members if isinstance(member, Stored)]
        await until_ended(request, self._services, runs, kept=kept)
        return members

    async def _stored(self, request: Request, key: str, spec: Callable[[], bytes]) -> Member:
        try:
            return await store_as(key, request, self._services, spec())
        except OrcaError as error:
            return error

    async def _answer(self, member: Member) -> Finished | RunState:
        """Return a member's run that somebody answered in, or how one stands that is not waited for. Raises why there is none."""
        if isinstance(member, OrcaError):
            raise member
        ended = await outcome_of(self._services, member.run_id)
        if isinstance(ended, Finished) and (error := error_of(ended)) is not None:
            raise error
        return ended

    async def _swarm(self, given: dict[str, Any], member: Member) -> dict[str, Any]:
        row = {"swarm_name": given.get("name"), "job_id": _run_of(member)}
        try:
            ended = await self._answer(member)
            if isinstance(ended, RunState):  # its moment has not come, or it waits for a person
                return {"status": ended.status, **row, "result": None, "usage": None}
            document = completion(ended, await self._services.bill(ended))
        except OrcaError as error:
            return {"status": "error", **row, **_wrong(error)}
        return {"status": document["status"], **row, "result": document["output"], "usage": document["usage"]}

    async def _agent(self, given: dict[str, Any], member: Member) -> dict[str, Any]:
        try:
            ended = await self._answer(member)
            if isinstance(ended, RunState):
                raise RuntimeError("a single agent waits for no moment and asks nobody")
            return agent_document(ended, await self._services.bill(ended))
        except OrcaError as error:
            config = given.get("agent_config")
            name = config.get("agent_name") if isinstance(config, dict) else None
            return {"success": False, "name": name, "job_id": _run_of(member), **_wrong(error)}


def _run_of(member: Member) -> str | None:
    return member.run_id if isinstance(member, Stored) else None


def _wrong(error: OrcaError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail.encode("utf-8", "replace").decode()}


def _spec_of(given: dict[str, Any]) -> bytes:
    """Return a member's spec. Raises InvalidError ``field_unsupported`` for a stream: a list has one end."""
    wanted = swarm_of(given)
    _refuse_stream(is_streamed=wanted.is_streamed)
    return wanted.spec


def _agent_of(given: dict[str, Any], place: int) -> bytes:
    wanted = agent_in(given, f"body[{place}]")
    _refuse_stream(is_streamed=wanted.stream)
    return wanted.spec()


def _refuse_stream(*, is_streamed: bool) -> None:
    if is_streamed:
        raise InvalidError("field_unsupported", "stream: a batch is answered as a whole; follow a member's events by its job_id")
