"""Anthropic Messages, version 2023-06-01.

System turns are taken out of the conversation, in order, and turns of the same role that follow each other are merged, as the
API wants. It knows no seed: the request's is not sent. A temperature above 1 is refused rather than quietly lowered. Stop
reasons come out in the words of the other providers where they mean the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from orca_agent.models.base import NO_IMAGES, Deltas, Images, Text
from orca_agent.models.http import Endpoint, HttpClient, ServerSettings
from orca_agent.models.sse import Event
from orca_agent.models.wire import Reported, answered, counted, encode, follow, listed, parsed, reported
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, Message, ModelIdentity, ModelRequest

VERSION = "2023-06-01"
_MAX_TEMPERATURE = 1.0
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}


@dataclass(frozen=True)
class AnthropicSettings(ServerSettings):
    """Anthropic itself, unless another base URL is given; it is without ``/v1``."""

    base_url: str = "https://api.anthropic.com"
    name: str = "anthropic"


class AnthropicProvider:
    """The provider port over ``/v1/messages`` and ``/v1/models``; the HTTP client belongs to the caller."""

    settings_class = AnthropicSettings

    def __init__(self, settings: AnthropicSettings, http: HttpClient) -> None:
        key = None if settings.api_key is None else ("x-api-key", settings.api_key)
        self._endpoint = Endpoint.checked(settings.name, settings.base_url, {"anthropic-version": VERSION}, key)
        self._settings = settings
        self._http = http

    @property
    def name(self) -> str:
        """The label from the settings."""
        return self._settings.name

    async def models(self) -> tuple[str, ...]:
        """Return the configured names, else what ``GET /v1/models`` lists (one page of its largest size)."""
        return self._settings.models or await listed(self._http, self._endpoint, "/v1/models?limit=1000")

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once; see the port. Raises InvalidError ``temperature_out_of_range`` and ``bad_request`` before anything is sent."""
        body = _body(model, request)
        with self._endpoint.hushed():
            if on_delta is None:
                return self._whole(model, await self._http.post(self._endpoint, "/v1/messages", encode(body)))
            async with self._http.stream(self._endpoint, "/v1/messages", encode({**body, "stream": True})) as chunks:
                return await self._streamed(model, chunks, on_delta)

    async def close(self) -> None:
        """Nothing of its own to release: the HTTP client is shared."""

    def _whole(self, model: str, data: bytes) -> Answer:
        reply = parsed(_Reply, data, self.name)
        if reply.error is not None:
            raise reported(reply.error, self.name)
        if reply.stop_reason is None:
            raise UnavailableError("malformed_answer", f"{self.name} sent an answer without a stop reason")
        texts = [block.text for block in reply.content if block.type == "text" and block.text is not None]
        return self._answer("".join(texts) if texts else None, reply.stop_reason, reply.model or model, reply.usage)

    async def _streamed(self, model: str, chunks: AsyncIterable[bytes], on_delta: Deltas) -> Answer:
        caps = self._http.settings.caps
        stream = _Stream(model, Text(caps, on_delta), self.name)
        await follow(chunks, caps, stream.take)
        if stream.stop_reason is None or not stream.ended:
            raise UnavailableError("truncated_answer", f"{self.name} ended its stream before the message was complete")
        return self._answer(str(stream.text) if stream.text.started else None, stream.stop_reason, stream.model, stream.usage)

    def _answer(self, text: str | None, stop_reason: str, model: str, usage: object) -> Answer:
        finish = _FINISH.get(stop_reason, stop_reason)
        figures = counted(usage, "input_tokens", "output_tokens")
        return answered(text, finish, ModelIdentity(provider=self.name, model=model), figures, self._http.settings.caps)


def _body(model: str, request: ModelRequest) -> dict[str, Any]:
    if request.temperature > _MAX_TEMPERATURE:
        raise InvalidError(
            "temperature_out_of_range", f"Anthropic takes a temperature from 0 to 1; {request.temperature} was asked for"
        )
    system = [message.content for message in request.messages if message.role == "system"]
    turns = _merged([message for message in request.messages if message.role != "system"])
    if not turns:
        raise InvalidError("bad_request", "Anthropic wants at least one turn besides the system prompt")
    body = {"model": model, "max_tokens": request.max_tokens, "temperature": request.temperature, "messages": turns}
    return {**body, "system": "\n\n".join(system)} if system else body


def _merged(messages: list[Message]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for message in messages:
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += "\n\n" + message.content
        else:
            turns.append({"role": message.role, "content": message.content})
    return turns


def _updated(usage: object, later: object) -> object:
    """In a stream the input comes first and the output last; later figures replace earlier ones, nonsense too."""
    if later is None:
        return usage
    if not isinstance(usage, dict) or not isinstance(later, dict):
        return later
    return usage | {name: figure for name, figure in later.items() if figure is not None}


class _Block(BaseModel):
    type: str
    text: str | None = None


class _Reply(BaseModel):
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: Any = None
    error: Reported | str | None = None


class _Delta(BaseModel):
    type: str | None = None
    text: str | None = None
    stop_reason: str | None = None


class _Event(BaseModel):
    type: str
    message: _Reply | None = None
    delta: _Delta | None = None
    usage: Any = None
    error: Reported | str | None = None


class _Stream:
    """What the events of one streamed message have said so far."""

    def __init__(self, model: str, text: Text, where: str) -> None:
        self.model = model
        self.text = text
        self.stop_reason: str | None = None
        self.usage: object = None
        self.ended = False
        self._where = where

    def take(self, event: Event) -> bool:
        """Take one event; True when it was ``message_stop``. Types that came after this version are passed over."""
        said = parsed(_Event, event.data, self._where)
        if said.type == "error":
            raise reported(said.error or Reported(), self._where)
        if said.message is not None:
            self.model = said.message.model or self.model
            self.usage = _updated(self.usage, said.message.usage)
        self.usage = _updated(self.usage, said.usage)
        if said.delta is not None:
            self._delta(said.delta)
        self.ended = said.type == "message_stop"
        return self.ended

    def _delta(self, delta: _Delta) -> None:
        if delta.type == "text_delta" and delta.text is not None:
            self.text.add(delta.text)
        self.stop_reason = delta.stop_reason or self.stop_reason
