"""OpenAI-compatible chat completions: OpenAI itself, OpenRouter, vLLM, Ollama, llama.cpp's server.

Not streamed when nobody listens (the cheapest path), streamed otherwise. An answer names the model that the server says it
used; usage is the server's own or absent. What cannot be an answer is an error: no finish reason, no text, a text that a
filter or an error cut short, tool calls where no tool was offered. Token ids are not part of this wire format, so a peer cannot
decode these answers again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, TypeAdapter

from orca_agent.models.base import NO_IMAGES, Deltas, Images, Text, excerpt, refuse_blind, shows_images
from orca_agent.models.facts import ModelFacts
from orca_agent.models.http import Endpoint, HttpClient, ServerSettings
from orca_agent.models.listing import listed
from orca_agent.models.logprobs import Logprobs
from orca_agent.models.prices import listed_facts
from orca_agent.models.schemas import is_strict
from orca_agent.models.sse import Event
from orca_agent.models.tools import Calls, ToolNames, spelt
from orca_agent.models.wire import Reported, answered, counted, encode, follow, parsed, picture, readable, reported
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, Message, ModelIdentity, ModelRequest, ToolDefinition


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
        self._is_official = urlsplit(settings.base_url).hostname == "api.openai.com"
        self._limit_field = "max_completion_tokens" if self._is_official else "max_tokens"
        self._listed: dict[str, ModelFacts] = {}

    @property
    def name(self) -> str:
        """The label from the settings."""
        return self._settings.name

    async def models(self) -> tuple[str, ...]:
        """Return the configured names, else what ``GET /models`` lists."""
        if self._settings.models:
            return self._settings.models
        self._listed = await listed(self._http, self._endpoint, "/models")
        return tuple(self._listed)

    def facts(self, model: str) -> ModelFacts:
        """Return what the listing says of ``model``, and the vendor's own price list where this is the vendor itself."""
        said = self._listed.get(model, ModelFacts(memory_bytes=0))
        return said.or_else(listed_facts("openai", model)) if self._is_official else said

    async def show(self, path: str) -> bytes:
        """Return what the server says at ``path``, asked with this provider's key. Raises the OrcaError family."""
        with self._endpoint.hushed():
            return await self._http.get(self._endpoint, path)

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once; see the port."""
        if shows_images(request):
            refuse_blind(self.facts(model).inputs, f"{self.name}/{model}")
        names = ToolNames.of(request)
        body = self._body(model, request, names, images)
        calls = None if request.tools is None else Calls(self._http.settings.caps, names, self.name)
        with self._endpoint.hushed():
            if on_delta is None:
                data = await self._http.post(self._endpoint, "/chat/completions", encode(body))
                return self._whole(model, data, calls, wants_logprobs=bool(request.logprobs))
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            async with self._http.stream(self._endpoint, "/chat/completions", encode(body)) as chunks:
                return await self._streamed(model, chunks, on_delta, calls, wants_logprobs=bool(request.logprobs))

    async def close(self) -> None:
        """Nothing of its own to release: the HTTP client is shared."""

    def _body(self, model: str, request: ModelRequest, names: ToolNames, images: Images) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [_sent(message, names, images) for message in request.messages],
            self._limit_field: request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.tools is not None:
            body["tools"] = [_offered(tool, names) for tool in request.tools]
        if request.logprobs:
            body["logprobs"] = True
        if request.response_schema is not None:
            schema = {"name": "answer", "schema": request.response_schema, "strict": is_strict(request.response_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _whole(self, model: str, data: bytes, calls: Calls | None = None, *, wants_logprobs: bool = False) -> Answer:
        reply = parsed(_Reply, data, self.name)
        choice = _first(reply, self.name)
        if choice is None or choice.message is None or choice.finish_reason is None:
            raise UnavailableError("malformed_answer", f"{self.name} sent an answer without a message or a finish reason")
        if choice.message.refusal:
            raise InvalidError("model_refused", f"{self.name} declined to answer: {excerpt(choice.message.refusal)}")
        _take_calls(choice.message, calls)
        logprobs = Logprobs(self._http.settings.caps, self.name) if wants_logprobs else None
        if logprobs is not None:
            logprobs.add(choice.logprobs)
        return self._answer(choice.message.content, choice.finish_reason, reply.model or model, reply.usage, calls, logprobs)

    async def _streamed(
        self,
        model: str,
        chunks: AsyncIterable[bytes],
        on_delta: Deltas,
        calls: Calls | None = None,
        *,
        wants_logprobs: bool = False,
    ) -> Answer:
        caps = self._http.settings.caps
        logprobs = Logprobs(caps, self.name) if wants_logprobs else None
        stream = _Stream(model, Text(caps, on_delta), self.name, calls, logprobs)
        await follow(chunks, caps, stream.take)
        if stream.finish is None:
            raise UnavailableError("truncated_answer", f"{self.name} ended its stream without a finish reason")
        content = str(stream.text) if stream.text.started else None
        return self._answer(content, stream.finish, stream.model, stream.usage, calls, logprobs)

    def _answer(
        self,
        text: str | None,
        finish: str,
        model: str,
        usage: object,
        calls: Calls | None,
        logprobs: Logprobs | None,
    ) -> Answer:
        figures = counted(usage, "prompt_tokens", "completion_tokens")
        made = None if calls is None else calls.made()
        tokens = None if logprobs is None else logprobs.made()
        return answered(text, finish, _identity(self.name, model), figures, self._http.settings.caps, made, tokens)


@lru_cache(64)
def _identity(provider: str, model: str) -> ModelIdentity:
    """Return who answered: nearly always the same as before."""
    return ModelIdentity(provider=provider, model=model)


def _sent(message: Message, names: ToolNames, images: Images) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        # Some servers refuse an empty text beside calls.
        sent["content"] = message.content or None
        sent["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": names.sent(call.name), "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.images:
        urls = [f"data:{image.media_type};base64,{picture(image, images)}" for image in message.images]
        text = [{"type": "text", "text": message.content}] if message.content else []
        sent["content"] = text + [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return sent


def _offered(tool: ToolDefinition, names: ToolNames) -> dict[str, Any]:
    function = {"name": names.sent(tool.name), "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


class _Function(BaseModel):
    name: str | None = None
    arguments: Any = None


class _Call(BaseModel):
    """A tool call or, in a stream, a piece of one."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: Any = None


class _Choice(BaseModel):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: Any = None
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


_CALLS = TypeAdapter(list[_Call])


def _take_calls(message: _Message, calls: Calls | None, *, is_piece: bool = False) -> None:
    """Hand what ``message`` says of tool calls on; where no tool was offered, it is passed over unread."""
    if calls is None or not message.tool_calls:
        return
    with readable(calls.where):
        said = _CALLS.validate_python(message.tool_calls)
    for place, call in enumerate(said):
        function = call.function or _Function()
        calls.add(
            place=call.index if is_piece else place,
            identity=call.id,
            name=function.name,
            arguments=spelt(function.arguments),
        )


class _Stream:
    """What the chunks of one streamed answer have said so far."""

    def __init__(self, model: str, text: Text, where: str, calls: Calls | None, logprobs: Logprobs | None) -> None:
        self.model = model
        self.text = text
        self._calls = calls
        self.finish: str | None = None
        self.usage: object = None
        self._logprobs = logprobs
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
            if self._logprobs is not None:
                self._logprobs.add(choice.logprobs)
            self._piece(choice.delta)
        return False

    def _piece(self, delta: _Message | None) -> None:
        if delta is None:
            return
        if delta.refusal:
            raise InvalidError("model_refused", f"{self._where} declined to answer: {excerpt(delta.refusal)}")
        if delta.tool_calls:
            _take_calls(delta, self._calls, is_piece=True)
        if delta.content is not None:
            self.text.add(delta.content)
