"""OpenAI-compatible chat completions: OpenAI itself, OpenRouter, vLLM, Ollama, llama.cpp's server.

Not streamed when nobody listens (the cheapest path), streamed otherwise. An answer names the model that the server says it
used; usage is the server's own or absent. What cannot be an answer is an error: no finish reason, no text, tool calls that
nobody offered. Token ids are not part of this wire format, so a peer cannot decode these answers again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from orca_agent.models.base import Deltas, Text, error_for, excerpt, refuse_empty
from orca_agent.models.http import Endpoint, HttpClient
from orca_agent.models.sse import Event
from orca_agent.models.wire import encode, follow, listed, parsed
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, Natural, Usage


@dataclass(frozen=True)
class OpenAISettings:
    """One server. ``models`` replaces its listing where it has none; ``name`` is what the journal calls it, never its host."""

    base_url: str = "https://api.openai.com/v1"
    api_key: SecretStr | None = None
    models: tuple[str, ...] = ()
    name: str = "openai"


class OpenAIProvider:
    """The provider port over ``/chat/completions`` and ``/models``; the HTTP client belongs to the caller."""

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
        if self._settings.models:
            return self._settings.models
        with self._endpoint.hushed():
            body = await self._http.get(self._endpoint, "/models")
        return listed(body, self.name, self._http.settings.caps.listed_models)

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None) -> Answer:
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
        _refuse_error(reply, self.name)
        choice = _first(reply.choices)
        if choice is None or choice.message is None or choice.finish_reason is None:
            raise UnavailableError("malformed_answer", f"{self.name} sent an answer without a message or a finish reason")
        if choice.message.refusal:
            raise InvalidError("model_refused", f"{self.name} declined to answer: {excerpt(choice.message.refusal)}")
        content = refuse_empty(choice.message.content, choice.finish_reason, self.name)
        self._http.settings.caps.admit(len(content.encode()))
        return self._answer(content, choice.finish_reason, reply.model or model, reply.usage)

    async def _streamed(self, model: str, chunks: AsyncIterable[bytes], on_delta: Deltas) -> Answer:
        caps = self._http.settings.caps
        stream = _Stream(model, Text(caps, on_delta), self.name)
        await follow(chunks, caps, stream.take)
        if stream.finish is None:
            raise UnavailableError("truncated_answer", f"{self.name} ended its stream without a finish reason")
        content = refuse_empty(str(stream.text) if stream.text.started else None, stream.finish, self.name)
        return self._answer(content, stream.finish, stream.model, stream.usage)

    def _answer(self, content: str, finish: str, model: str, usage: _Usage | None) -> Answer:
        identity = ModelIdentity(provider=self.name, model=model)
        return Answer(content=content, finish_reason=finish, model=identity, usage=None if usage is None else usage.counted())


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: Natural | None = None
    completion_tokens: Natural | None = None

    def counted(self) -> Usage | None:
        """Both figures or none: half a usage cannot be billed."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return Usage(input_tokens=self.prompt_tokens, output_tokens=self.completion_tokens)


class _Error(BaseModel):
    message: str = ""
    code: int | str | None = None


class _Reply(BaseModel):
    """A whole answer or one streamed chunk; what else servers add is ignored."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    #: OpenRouter and vLLM report failures inside a 200
    error: _Error | str | None = None


def _first(choices: list[_Choice] | None) -> _Choice | None:
    return next((choice for choice in choices or () if choice.index == 0), None)


class _Stream:
    """What the chunks of one streamed answer have said so far."""

    def __init__(self, model: str, text: Text, where: str) -> None:
        self.model = model
        self.text = text
        self.finish: str | None = None
        self.usage: _Usage | None = None
        self._where = where

    def take(self, event: Event) -> bool:
        """Take one event; True when it was the last. The usage comes after the finish reason, in a chunk without choices."""
        if event.data == "[DONE]":
            return True
        reply = parsed(_Reply, event.data, self._where)
        _refuse_error(reply, self._where)
        self.usage = reply.usage or self.usage
        self.model = reply.model or self.model
        choice = _first(reply.choices)
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


def _refuse_error(reply: _Reply, where: str) -> None:
    if reply.error is not None:
        raise _reported(reply.error, where)


def _reported(error: _Error | str, where: str) -> OrcaError:
    if isinstance(error, str):
        return UnavailableError("server_error", f"{where} reported an error: {excerpt(error)}")
    if isinstance(error.code, int) and 300 <= error.code < 600:
        return error_for(error.code, error.message, where)
    return UnavailableError("server_error", f"{where} reported an error: {excerpt(error.message)}")
