"""The Swarms API: a swarm or a single agent in, its answer out, in one request that lasts as long as the run.

What that API does is kept where it is useful and said where it is not. It answers 200 for what ran and 500 with a sentence
for what did not. Here: 200 when there is an answer, be it a partial one (``status`` says so). When no agent answered there is
nothing to call a success: the answer is a problem, which names the run and holds the whole response object as ``response``.

    502 run_error       every agent failed; each one's error is in the response
    504 run_deadline    its time was up          409 run_cancelled   somebody cancelled it
    500 run_failed      it could not be run      400 …               what is wrong with the spec, or a model that is not there

With ``stream`` the answer is the run as it happens (``swarm_stream``), with the response object at its end.
Who says ``cache=true`` takes an answer that the same request got before; see ``kept``. A request with an Idempotency-Key is
answered by its own run, and its answer is kept.
What waits longer than a caller can is answered with 202 and the job's id, under which the run is read when it has ended: a spec
that waits for its moment, at once, and a run that waits for a person, when it does.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.access import caller_of
from orca_agent.api.followers import Followers
from orca_agent.api.kept import request_key
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.runs import IDEMPOTENCY, store
from orca_agent.api.services import Services
from orca_agent.api.swarm_stream import SwarmStream
from orca_agent.api.translation import AgentRequest, Wanted, agent_in, swarm_in
from orca_agent.api.waiting import ON_DISCONNECT, WAITS, is_kept, outcome_of, until_ended
from orca_agent.models.facts import Bill
from orca_agent.models.retry import stamp
from orca_agent.work.response import Shown, completion, cost_of, pending, tokens_of
from orca_agent.work.runner import Finished
from orca_agent.work.states import RunState
from orca_http.answers import Answer, json_answer, respond
from orca_http.reading import body_schema, choice_of, one_of, refuse_other_media
from orca_protocol.canonical import parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.spec import SPEC_MAX_BYTES, SwarmSpec, read_spec

_YES_OR_NO = ("true", "false")
_CACHE = {"name": "cache", "in": "query", "schema": {**one_of(_YES_OR_NO), "default": "false"}}
_PARAMETERS = {"parameters": [IDEMPOTENCY, ON_DISCONNECT, _CACHE]}


def routes(services: Services, followers: Followers) -> APIRouter:
    """Return the router of both."""
    router = APIRouter(prefix="/v1", tags=["completions"])
    completions = _Completions(services, followers)
    for path, handler, kind in (
        ("/swarm/completions", completions.swarm, SwarmSpec),
        ("/agent/completions", completions.agent, AgentRequest),
    ):
        extra = {**body_schema(kind), **_PARAMETERS}
        router.add_api_route(path, handler, methods=["POST"], openapi_extra=extra, response_class=Response)
    return router


class _Completions:
    """The handlers."""

    def __init__(self, services: Services, followers: Followers) -> None:
        self._services = services
        self._followers = followers

    async def swarm(self, request: Request) -> Response:
        """Run a swarm and answer with what it said."""
        refuse_other_media(request)
        return await self._answered(request, await asyncio.to_thread(swarm_in, await request.body()), completion)

    async def agent(self, request: Request) -> Response:
        """Run one agent and answer with what it said."""
        refuse_other_media(request)
        wanted = await asyncio.to_thread(_agent_of, await request.body())
        return await self._answered(request, Wanted(wanted.spec(), wanted.stream), agent_document)

    async def _answered(self, request: Request, wanted: Wanted, shown: Shown) -> Response:
        """Answer with a kept answer, where the request takes one, or else with what the run said."""
        takes_kept = choice_of(request, "cache", _YES_OR_NO) == "true"
        if wanted.is_streamed and takes_kept:
            raise InvalidError("query", "cache: a stream is the run as it happens and is not kept; leave out cache or stream")
        if wanted.is_streamed:
            return await self._streamed(request, wanted, shown)
        if not takes_kept:
            return await self._shown(await self._ended(request, wanted), shown)
        asked = await asyncio.to_thread(read_spec, wanted.spec)
        key = request_key(caller_of(request).owner, request.url.path, asked)
        found = self._services.answers.find(key) if "idempotency-key" not in request.headers else None
        if found is not None:
            return found
        ended = await self._ended(request, wanted)
        response = await self._shown(ended, shown)
        is_success = isinstance(ended, Finished) and ended.output.status == "success"
        if is_success:
            self._services.answers.keep(key, Answer(200, "application/json", bytes(response.body)))
        response.headers["Cache-Status"] = "orca; fwd=miss; stored" if is_success else "orca; fwd=miss"
        return response

    async def _streamed(self, request: Request, wanted: Wanted, shown: Shown) -> Response:
        kept = is_kept(request)
        self._followers.admit()
        stored = await store(request, self._services, wanted.spec)
        state = await self._services.queue.state(stored.run_id)
        if state.status in WAITS:
            return await self._shown(state, shown)
        return SwarmStream(self._services, self._followers, stored, read_spec(wanted.spec), shown, kept=kept)

    async def _ended(self, request: Request, wanted: Wanted) -> Finished | RunState:
        """Store the run and wait for its end; return how it stands if that is not waited for."""
        kept = is_kept(request)
        stored = await store(request, self._services, wanted.spec)
        await until_ended(request, self._services, [stored], kept=kept)
        return await outcome_of(self._services, stored.run_id)

    async def _shown(self, ended: Finished | RunState, shown: Shown) -> Response:
        if isinstance(ended, RunState):
            asked = await self._services.queue.questions(ended.run.id)
            return respond(json_answer(202, pending(ended, asked)), location=f"/v1/runs/{ended.run.id}")
        document = shown(ended, await self._services.bill(ended))
        error = error_of(ended)
        if error is not None:
            return PROBLEMS.response(error, run=ended.run.id, response=document)
        return respond(json_answer(200, document))


def _agent_of(body: bytes) -> AgentRequest:
    return agent_in(parse_json(body, max_bytes=SPEC_MAX_BYTES, where="body"), "body")


def error_of(ended: Finished) -> InvalidError | None:
    """Return what a run came to in which nobody answered, or None if there is an answer."""
    if ended.output.status != "error":
        return None
    why = {
        "cancelled": ("run_cancelled", "was cancelled before any agent answered"),
        "deadline": ("run_deadline", "was out of time before any agent answered"),
    }
    code, said = why.get(ended.output.stopped or "", ("run_error", "got no answer; each agent's error is in response.output"))
    return InvalidError(code, f"run {ended.run.id} {said}")


def agent_document(ended: Finished, bill: Bill | None) -> dict[str, Any]:
    """Return the response object of ``/v1/agent/completions``."""
    (agent,) = ended.item.spec.agents
    return {
        "job_id": ended.run.id,
        "success": ended.output.status == "success",
        "name": agent.agent_name,
        "description": agent.description,
        "temperature": agent.temperature,
        "outputs": completion(ended)["output"],
        "usage": {**tokens_of(ended.output), "img_cost": None, "total_cost": cost_of(bill)},
        "timestamp": stamp(datetime.fromtimestamp(ended.finished, UTC)),
    }
