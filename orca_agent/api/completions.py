"""The Swarms API: a swarm or a single agent in, its answer out, in one request that lasts as long as the run.

What that API does is kept where it is useful and said where it is not. It answers 200 for what ran and 500 with a sentence
for what did not. Here: 200 when there is an answer, be it a partial one (``status`` says so). When no agent answered there is
nothing to call a success: the answer is a problem, which names the run and holds the whole response object as ``response``.

    502 run_error       every agent failed; each one's error is in the response
    504 run_deadline    its time was up          409 run_cancelled   somebody cancelled it
    500 run_failed      it could not be run      400 …               what is wrong with the spec, or a model that is not there

With ``stream`` the answer is the run as it happens (``swarm_stream``), with the response object at its end.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.followers import Followers
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.runs import IDEMPOTENCY, store
from orca_agent.api.services import Services
from orca_agent.api.swarm_stream import SwarmStream
from orca_agent.api.translation import AgentRequest, Wanted, agent_in, swarm_in
from orca_agent.api.waiting import ON_DISCONNECT, ended_run, is_kept, until_ended
from orca_agent.models.facts import Bill
from orca_agent.models.retry import stamp
from orca_agent.work.response import Shown, answers_of, completion, dollars, tokens_of
from orca_agent.work.runner import Finished
from orca_http.answers import json_answer, respond
from orca_http.reading import body_schema, refuse_other_media
from orca_protocol.canonical import parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.spec import SPEC_MAX_BYTES, SwarmSpec, read_spec

_PARAMETERS = {"parameters": [IDEMPOTENCY, ON_DISCONNECT]}


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
        kept = is_kept(request)
        if wanted.is_streamed:
            self._followers.admit()
        stored = await store(request, self._services, wanted.spec)
        if wanted.is_streamed:
            return SwarmStream(self._services, self._followers, stored, read_spec(wanted.spec), shown, kept=kept)
        await until_ended(request, self._services, [stored], kept=kept)
        ended = await ended_run(self._services, stored.run_id)
        error = error_of(ended)
        document = shown(ended, await self._services.registry.bill(answers_of(ended)))
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
        "usage": {**tokens_of(ended.output), "img_cost": None, "total_cost": dollars(bill)},
        "timestamp": stamp(datetime.fromtimestamp(ended.finished, UTC)),
    }
