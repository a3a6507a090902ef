"""The OpenAI API's ``POST /v1/chat/completions``: one agent, one run, journaled like any other.

The answer's ``id`` is the run's: ``/v1/runs/{id}`` reads it, ``/v1/runs/{id}/proof`` proves it. A stream sends the run's own
deltas as they come. What was sent cannot be taken back: when a call is made again after text was sent, the stream goes on as
long as the new text begins like the old one, and else ends with an error; the run goes on and its output can be read.
Calls of functions are told at the end, each whole: until then it is not certain which of them count.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.chat_answer import Said, call_document, chat_completion, head, said_in, unfulfilled
from orca_agent.api.chat_wire import Asked, ChatRequest, chat_in
from orca_agent.api.envelope import Enveloped, envelope, enveloped
from orca_agent.api.followers import Followers
from orca_agent.api.retelling import Retelling
from orca_agent.api.runs import IDEMPOTENCY, store
from orca_agent.api.services import Services
from orca_agent.api.streams import Stream, batches
from orca_agent.api.waiting import ON_DISCONNECT, ended_run, is_kept, leave, until_ended
from orca_agent.store.events import RunEvent
from orca_agent.work.queue import Stored
from orca_agent.work.runner import Finished
from orca_http.answers import json_answer, respond
from orca_http.reading import body_schema, refuse_other_media
from orca_protocol.errors import InvalidError, OrcaError


def routes(services: Services, followers: Followers) -> APIRouter:
    """Return the router of ``/v1/chat/completions``."""
    router = APIRouter(prefix="/v1", tags=["openai"], route_class=Enveloped)

    async def chat(request: Request) -> Response:
        """Ask one model, in the OpenAI API's terms."""
        refuse_other_media(request)
        asked = await asyncio.to_thread(chat_in, await request.body())
        kept = is_kept(request)
        if asked.is_streamed:
            followers.admit()
        stored = await store(request, services, asked.spec)
        if asked.is_streamed:
            return ChatStream(services, followers, stored, asked, kept=kept)
        await until_ended(request, services, [stored], kept=kept)
        ended, said = await _answered(services, stored.run_id, asked)
        return respond(json_answer(200, chat_completion(ended, said)))

    extra = {**body_schema(ChatRequest), "parameters": [IDEMPOTENCY, ON_DISCONNECT]}
    router.add_api_route("/chat/completions", chat, methods=["POST"], openapi_extra=extra, response_class=Response)
    return router


async def _answered(services: Services, run_id: str, asked: Asked) -> tuple[Finished, Said]:
    """Return the run and what the model said. Raises what became of it instead."""
    ended = await ended_run(services, run_id)
    said = said_in(ended)
    if said is not None:
        wrong = unfulfilled(said, asked.parameters)
        if wrong is not None:
            raise InvalidError("run_error", f"run {run_id}: {wrong}")
        return ended, said
    code = {"cancelled": "run_cancelled", "deadline": "run_deadline"}.get(ended.output.stopped or "", "run_error")
    failures = [message.error for message in ended.output.output if message.error is not None]
    why = f"{failures[-1].code}: {failures[-1].detail}" if failures else "it was not asked"
    raise InvalidError(code, f"run {run_id}: the model gave no answer: {why}")


class ChatStream(Stream):
    """The answer to who wants the tokens as they come."""

    def __init__(self, services: Services, followers: Followers, stored: Stored, asked: Asked, *, kept: bool) -> None:
        super().__init__(services, followers, stored.run_id)
        self._stored = stored
        self._asked = asked
        self._kept = kept
        self._head: dict[str, Any] = {}
        self._model = asked.model
        self._text = Retelling()

    def refused(self, error: OrcaError) -> Response:
        """Return the error as this family's clients read it."""
        return enveloped(error)

    async def left(self) -> None:
        """Cancel the run, unless it is to go on."""
        if not self._kept:
            await leave(self.services, [self._stored])

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield a chunk for each piece of text, for each call, then why it ended, then the usage if it is wanted."""
        started = (await self.services.queue.state(self.run_id)).run.started
        try:
            async with aclosing(batches(self.services, self.run_id)) as following:
                async for batch in following:
                    new = "".join(map(self._new_text, batch))
                    yield self._piece(started, new) if new else b""
            _, said = await _answered(self.services, self.run_id, self._asked)
            rest = self._text.whole(said.content or "")
            yield self._piece(started, rest if said.content is not None else None) if rest or not self._head else b""
        except OrcaError as error:
            if not self._head:
                raise
            yield _data(envelope(error))
            return
        for place, call in enumerate(said.calls):
            yield self._chunk({"tool_calls": [{"index": place, **call_document(call)}]}, None)
        yield self._chunk({}, said.finish)
        if self._asked.has_usage:
            yield _data({**self._head, "choices": [], "usage": said.usage})
        yield b"data: [DONE]\n\n"

    def _new_text(self, event: RunEvent) -> str:
        """Take an event; return the text that is new to the reader."""
        if event.kind == "model_resolved":
            self._model = json.loads(event.body)["model"]
        if event.kind in {"call_started", "call_restarted"}:
            self._text.begin_again()
        return self._text.add(json.loads(event.body)["text"]) if event.kind == "delta" else ""

    def _piece(self, started: float, text: str | None) -> bytes:
        if self._head:
            return self._chunk({"content": text}, None)
        self._head = {**head(self.run_id, started, self._model), "object": "chat.completion.chunk"}
        return self._chunk({"role": "assistant", "content": text}, None)

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**self._head, "choices": [choice], **({"usage": None} if self._asked.has_usage else {})})


def _data(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n".encode("utf-8", "replace")
