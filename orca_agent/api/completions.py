"""The Swarms API: a swarm or a single agent in, its answer out, in one request that lasts as long as the run.

What that API does is kept where it is useful and said where it is not. It answers 200 for what ran and 500 with a sentence
for what did not. Here: 200 when there is an answer, be it a partial one (``status`` says so). When no agent answered there is
nothing to call a success: the answer is a problem, which names the run and holds the whole response object as ``response``.

    502 run_error       every agent failed; each one's error is in the response
    504 run_deadline    its time was up          409 run_cancelled   somebody cancelled it
    500 run_failed      it could not be run      400 …               what is wrong with the spec, or a model that is not there

What waits longer than a caller can is answered with 202 and the job's id, under which the run is read when it has ended: a spec
that waits for its moment, at once, and a run that waits for a person, when it does.
Who goes away before the end wants no answer: the run is cancelled, unless the request said ``on_disconnect=continue``.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orca_agent.api.problems import PROBLEMS
from orca_agent.api.runs import IDEMPOTENCY, finished, store
from orca_agent.api.services import Services
from orca_agent.api.streams import until_gone
from orca_agent.models.retry import stamp
from orca_agent.work.queue import Stored
from orca_agent.work.response import completion, pending
from orca_agent.work.runner import Finished
from orca_agent.work.states import AWAITING, FAILED, RunState
from orca_http.answers import json_answer, respond
from orca_http.bounds import own_time
from orca_http.reading import body_schema, choice_of, one_of, read_json, refuse_other_media
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Strict
from orca_protocol.spec import AgentSpec, SwarmSpec

_CHOICES = ("cancel", "continue")
_ON_DISCONNECT = {"name": "on_disconnect", "in": "query", "schema": {**one_of(_CHOICES), "default": "cancel"}}
_PARAMETERS = {"parameters": [IDEMPOTENCY, _ON_DISCONNECT]}
#: what stands before the reason of a run that failed for something that is wrong with it
_MODEL = re.compile(r"(model_unavailable|model_ambiguous): (.*)", re.DOTALL)


class AgentRequest(Strict):
    """One agent and what it is asked. The Swarms API's other fields are refused by name: nothing is accepted and ignored."""

    agent_config: AgentSpec
    task: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    #: earlier messages; this engine cannot take any yet, so only an empty one is let in
    history: dict[str, Any] | list[Any] | str | None = None


def routes(services: Services) -> APIRouter:
    """Return the router of both."""
    router = APIRouter(prefix="/v1", tags=["completions"])
    completions = _Completions(services)
    for path, handler, kind in (
        ("/swarm/completions", completions.swarm, SwarmSpec),
        ("/agent/completions", completions.agent, AgentRequest),
    ):
        extra = {**body_schema(kind), **_PARAMETERS}
        router.add_api_route(path, handler, methods=["POST"], openapi_extra=extra, response_class=Response)
    return router


class _Completions:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def swarm(self, request: Request) -> Response:
        """Run a swarm and answer with what it said."""
        refuse_other_media(request)
        ended = await self._ended(request, await request.body())
        return await self._accepted(ended) if isinstance(ended, RunState) else _answer(ended, completion(ended))

    async def agent(self, request: Request) -> Response:
        """Run one agent and answer with what it said."""
        wanted = await read_json(request, AgentRequest, max_bytes=self._services.settings.body_bytes)
        if wanted.history:
            raise InvalidError("history_unsupported", "history: this version begins every run anew; put what matters into task")
        agent = wanted.agent_config.document()
        spec = {"name": wanted.agent_config.agent_name, "agents": [agent], "task": wanted.task}
        ended = await self._ended(request, canonical({**spec, "swarm_type": "SequentialWorkflow"}))
        if isinstance(ended, RunState):
            raise RuntimeError("a single agent waits for no moment and asks nobody")
        return _answer(ended, _agent_document(ended))

    async def _ended(self, request: Request, spec: bytes) -> Finished | RunState:
        """Store the run and wait for its end; return how it stands if that is not waited for."""
        is_kept = choice_of(request, "on_disconnect", _CHOICES) == "continue"
        stored = await store(request, self._services, spec)
        state = await self._services.queue.state(stored.run_id)
        if state.due is not None and state.run.status is None:
            return state
        own_time(request.scope)
        if await self._is_gone_before_the_end(request, stored.run_id):
            await self._leave(stored, is_kept=is_kept)
            raise ClientDisconnect
        state = await self._services.queue.state(stored.run_id)
        if state.run.status is None:
            return state
        if state.run.status == FAILED:
            raise _reason(stored.run_id, state.reason or "")
        return await finished(self._services, state)

    async def _is_gone_before_the_end(self, request: Request, run_id: str) -> bool:
        """Wait until the run has ended or waits for a person (False), or its caller has gone (True)."""
        gone = asyncio.create_task(until_gone(request.receive))
        ended = asyncio.create_task(self._until_closed(run_id))
        stopping = asyncio.create_task(self._services.stopping.wait())
        waiting = {gone, ended, stopping}
        try:
            limit = self._services.settings.completion_seconds
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
        if self._services.stopping.is_set():
            raise UnavailableError("stopping", f"this service is being stopped; run {run_id} goes on when it is back, read it then")
        raise InvalidError("run_goes_on", f"run {run_id} has not ended within {limit:g} s and goes on: GET /v1/runs/{run_id}")

    async def _until_closed(self, run_id: str) -> None:
        while not await self._services.events.until_closed(run_id, 1.0):
            if (await self._services.queue.state(run_id)).status == AWAITING:
                return

    async def _accepted(self, state: RunState) -> Response:
        asked = await self._services.queue.questions(state.run.id)
        return respond(json_answer(202, pending(state, asked)), location=f"/v1/runs/{state.run.id}")

    async def _leave(self, stored: Stored, *, is_kept: bool) -> None:
        """Cancel the run of a caller who has gone, if this very request began it."""
        if is_kept or not stored.is_new:
            return
        try:
            await self._services.queue.cancel(stored.run_id)
        except InvalidError:
            return  # it ended meanwhile


def _reason(run_id: str, reason: str) -> OrcaError:
    """Return the error of a run that ended without an output."""
    wrong = _MODEL.fullmatch(reason)
    if wrong is not None:
        return InvalidError(wrong.group(1), wrong.group(2))
    return InvalidError("run_failed", f"run {run_id} could not be run: {reason}")


def _answer(ended: Finished, document: dict[str, Any]) -> Response:
    output = ended.output
    if output.status != "error":
        return respond(json_answer(200, document))
    why = {
        "cancelled": ("run_cancelled", "was cancelled before any agent answered"),
        "deadline": ("run_deadline", "was out of time before any agent answered"),
    }
    code, said = why.get(output.stopped or "", ("run_error", "got no answer; each agent's error is in response.output"))
    return PROBLEMS.response(InvalidError(code, f"run {ended.run.id} {said}"), run=ended.run.id, response=document)


def _agent_document(ended: Finished) -> dict[str, Any]:
    """Return the response object of ``/v1/agent/completions``."""
    (agent,) = ended.item.spec.agents
    shown = completion(ended)
    return {
        "job_id": ended.run.id,
        "success": ended.output.status == "success",
        "name": agent.agent_name,
        "description": agent.description,
        "temperature": agent.temperature,
        "outputs": shown["output"],
        "usage": shown["usage"],
        "timestamp": stamp(datetime.fromtimestamp(ended.finished, UTC)),
    }
