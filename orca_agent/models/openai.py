"""OpenAI-compatible chat completions: OpenAI itself, OpenRouter, vLLM, Ollama, llama.cpp's server.

Not streamed when nobody listens (the cheapest path), streamed otherwise. An answer names the model that the server says it
used; usage is the server's own or absent. What cannot be an answer is an error: no finish reason, no text, a text that a
filter or an error cut short, tool calls that nobody offered. Token ids are not part of this wire format, so a peer cannot
decode these answers again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from orca_agent.models.base import NO_IMAGES, Deltas, Images, Text, excerpt
from orca_agent.models.http import Endpoint, HttpClient, ServerSettings
from orca_agent.models.sse import Event
from orca_agent.models.wire import Reported, answered, counted, encode, follow, listed, parsed, reported
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity, ModelRequest


@dataclass(frozen=True)
class OpenAISettings(ServerSettings):
    """OpenAI itself, unless another base URL is given."""

    base_url: str = "https://api.openai.com/v1"
    name: str = "openai"


class OpenAIProvider:
    """The provider port over ``/chat/completions`` and ``/models``; the HTTP client belongs to the caller."""

    settings_class = OpenAISettings

    def __init__(self, settings: OpenAISettings, http: HttpClient) -> None:
        key = None if settings.api_key is None else ("Authorization", settings.api_key)
        self._endpoint = Endpoint.checked(settings.name, settings.base_url, {}, key)
        self._settings = settings
        self._http = http
        # OpenAI's newer models refuse the old field; most compatible servers know only the old one.
        official = urlsplit(settings.base_url).hostname == "api.openai.com"
        self._limit_field = "max_completion_tokens" if official else "max_tokens"

    @property
    def name(self) -> str:
        """The label from the settings."""
        return self._settings.name

    async def models(self) -> tuple[str, ...]:
        """Return the configured names, else what ``GET /models`` lists."""
        return self._settings.models or await listed(self._http, self._endpoint, "/models")

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once; see the port."""
        body = self._body(model, request)
        with self._endpoint.hushed():
            if on_delta is None:
                data = await self._http.post(self._endpoint, "/chat/completions", encode(body))
                return self._whole(model, data)
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            async with self._http.stream(self._endpoint, "/chat/completions", encode(body)) as chunks:
                return await self._streamed(model, chunks, on_delta)

    async def close(self) -> None:
        """Nothing of its own to release: the HTTP client is shared."""

    def _body(self, model: str, request: ModelRequest) -> dict[str, Any]:
        return {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self._limit_field: request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }

    def _whole(self, model: str, data: bytes) -> Answer:
        reply = parsed(_Reply, data, self.name)
        choice = _first(reply, self.name)
        if choice is None or choice.message is None or choice.finish_reason is None:
            raise UnavailableError("malformed_answer", f"{self.name} sent an answer without a message or a finish reason")
        if choice.message.refusal:
            raise InvalidError("model_refused", f"{self.name} declined to answer: {excerpt(choice.message.refusal)}")
        return self._answer(choice.message.content, choice.finish_reason, reply.model or model, reply.usage)

    async def _streamed(self, model: str, chunks: AsyncIterable[bytes], on_delta: Deltas) -> Answer:
        caps = self._http.settings.caps
        stream = _Stream(model, Text(caps, on_delta), self.name)
        await follow(chunks, caps, stream.take)
        if stream.finish is None:
            raise UnavailableError("truncated_answer", f"{self.name} ended its stream without a finish reason")
        return self._answer(str(stream.text) if stream.text.started else None, stream.finish, stream.model, stream.usage)

    def _answer(self, text: str | None, finish: str, model: str, usage: object) -> Answer:
        figures = counted(usage, "prompt_tokens", "completion_tokens")
        return answered(text, finish, ModelIdentity(provider=self.name, model=model), figures, self._http.settings.caps)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    #: OpenRouter's, beside the finish reason ``error``
    error: Reported | str | None = None


class _Reply(BaseModel):
    """A whole answer or one streamed chunk; what else servers add is ignored."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    #: OpenRouter and vLLM report failures inside a 200
    error: Reported | str | None = None


def _first(reply: _Reply, where: str) -> _Choice | None:
    """Return the only choice that was asked for; raises the error that stands in it, or beside it."""
    choice = next((choice for choice in reply.choices or () if choice.index == 0), None)
    error = reply.error if choice is None or reply.error is not None else choice.error
    if error is not None:
        raise reported(error, where)
    return choice


class _Stream:
    """What the chunks of one streamed answer have said so far."""

    def __init__(self, model: str, text: Text, where: str) -> None:
        self.model = model
        self.text = text
        self.finish: str | None = None
        self.usage: object = None
        self._where = where

    def take(self, event: Event) -> bool:
        """Take one event; True when it was the last. The usage comes after the finish reason, in a chunk without choices."""
        if event.data == "[DONE]":
            return True
        reply = parsed(_Reply, event.data, self._where)
        self.usage = reply.usage or self.usage
        self.model = reply.model or self.model
        choice = _first(reply, self._where)
        if choice is not None:
            self.finish = choice.finish_reason or self.finish
            self._piece(choice.delta)
        return False

    def _piece(self, delta: _Message | None) -> None:
        if delta is None:
            return
        if delta.refusal:
            raise InvalidError("model_refused", f"{self._where} declined to answer: {excerpt(delta.refusal)}")
        if delta.content is not None:
            self.text.add(delta.content)
