"""Anthropic Messages, version 2023-06-01.

System turns are taken out of the conversation, in order, and turns of the same role that follow each other are merged, as the
API wants. It knows no seed: the request's is not sent. A temperature above 1 is refused rather than quietly lowered. Stop
reasons come out in the words of the other providers where they mean the same. A schema is sent as far as it can be enforced; one
with an open object cannot, and the engine alone judges by it. Tools that earlier turns have called are declared, as the API wants,
also where none is offered.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from orca_agent.models.base import NO_IMAGES, Deltas, Images, Text, refuse_blind, refuse_logprobs, shows_images
from orca_agent.models.facts import ModelFacts
from orca_agent.models.http import Endpoint, HttpClient, ServerSettings
from orca_agent.models.listing import listed
from orca_agent.models.prices import listed_facts
from orca_agent.models.schemas import is_closed, loosened
from orca_agent.models.sse import Event
from orca_agent.models.tools import Calls, ToolNames, as_object, spelt
from orca_agent.models.wire import Reported, answered, counted, encode, follow, parsed, picture, reported
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, Message, ModelIdentity, ModelRequest, ToolDefinition

VERSION = "2023-06-01"
_MAX_TEMPERATURE = 1.0
_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


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
        self._is_official = urlsplit(settings.base_url).hostname == "api.anthropic.com"
        self._listed: dict[str, ModelFacts] = {}

    @property
    def name(self) -> str:
        """The label from the settings."""
        return self._settings.name

    async def models(self) -> tuple[str, ...]:
        """Return the configured names, else what ``GET /v1/models`` lists (one page of its largest size)."""
        if self._settings.models:
            return self._settings.models
        self._listed = await listed(self._http, self._endpoint, "/v1/models?limit=1000")
        return tuple(self._listed)

    def facts(self, model: str) -> ModelFacts:
        """Return what the listing says of ``model``, and the vendor's own price list where this is the vendor itself."""
        said = self._listed.get(model, ModelFacts(memory_bytes=0))
        return said.or_else(listed_facts("anthropic", model)) if self._is_official else said

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once; see the port. Raises InvalidError ``temperature_out_of_range`` and ``bad_request`` before anything is sent."""
        if shows_images(request):
            refuse_blind(self.facts(model).inputs, f"{self.name}/{model}")
        refuse_logprobs(request, f"{self.name}/{model}")
        names = ToolNames.of(request)
        body = _body(model, request, names, images)
        calls = None if request.tools is None else Calls(self._http.settings.caps, names, self.name)
        with self._endpoint.hushed():
            if on_delta is None:
                return self._whole(model, await self._http.post(self._endpoint, "/v1/messages", encode(body)), calls)
            async with self._http.stream(self._endpoint, "/v1/messages", encode({**body, "stream": True})) as chunks:
                return await self._streamed(model, chunks, on_delta, calls)

    async def close(self) -> None:
        """Nothing of its own to release: the HTTP client is shared."""

    def _whole(self, model: str, data: bytes, calls: Calls | None = None) -> Answer:
        reply = parsed(_Reply, data, self.name)
        if reply.error is not None:
            raise reported(reply.error, self.name)
        if reply.stop_reason is None:
            raise UnavailableError("malformed_answer", f"{self.name} sent an answer without a stop reason")
        texts = [block.text for block in reply.content if block.type == "text" and block.text is not None]
        for place, block in enumerate(reply.content):
            if calls is not None and block.type == "tool_use":
                calls.add(place=place, identity=block.id, name=block.name, arguments=spelt(block.input))
        return self._answer("".join(texts) if texts else None, reply.stop_reason, reply.model or model, reply.usage, calls)

    async def _streamed(self, model: str, chunks: AsyncIterable[bytes], on_delta: Deltas, calls: Calls | None = None) -> Answer:
        caps = self._http.settings.caps
        stream = _Stream(model, Text(caps, on_delta), self.name, calls)
        await follow(chunks, caps, stream.take)
        if stream.stop_reason is None or not stream.ended:
            raise UnavailableError("truncated_answer", f"{self.name} ended its stream before the message was complete")
        text = str(stream.text) if stream.text.started else None
        return self._answer(text, stream.stop_reason, stream.model, stream.usage, calls)

    def _answer(self, text: str | None, stop_reason: str, model: str, usage: object, calls: Calls | None) -> Answer:
        finish = _FINISH.get(stop_reason, stop_reason)
        figures = counted(usage, "input_tokens", "output_tokens")
        made = None if calls is None else calls.made()
        return answered(text, finish, ModelIdentity(provider=self.name, model=model), figures, self._http.settings.caps, made)


def _body(model: str, request: ModelRequest, names: ToolNames, images: Images) -> dict[str, Any]:
    if request.temperature > _MAX_TEMPERATURE:
        raise InvalidError(
            "temperature_out_of_range", f"Anthropic takes a temperature from 0 to 1; {request.temperature} was asked for"
        )
    system = [message.content for message in request.messages if message.role == "system"]
    turns = _merged([_turn(message, names, images) for message in request.messages if message.role != "system"])
    if not turns:
        raise InvalidError("bad_request", "Anthropic wants at least one turn besides the system prompt")
    body = {"model": model, "max_tokens": request.max_tokens, "temperature": request.temperature, "messages": turns}
    if system:
        body["system"] = "\n\n".join(system)
    if request.tools is not None:
        body["tools"] = [_offered(tool, names) for tool in request.tools]
    elif called := dict.fromkeys(call.name for message in request.messages for call in message.tool_calls or ()):
        body["tools"] = [{"name": names.sent(name), "input_schema": {"type": "object"}} for name in called]
        body["tool_choice"] = {"type": "none"}
    if request.response_schema is not None and is_closed(schema := loosened(request.response_schema)):
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def _turn(message: Message, names: ToolNames, images: Images) -> dict[str, Any]:
    """Return one message as a turn. The result of a tool is said by the user, text alone is a string."""
    if message.role == "tool":
        block = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
        return {"role": "user", "content": [block]}
    blocks: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": picture(image, images)}}
        for image in message.images or ()
    ]
    calls = [
        {"type": "tool_use", "id": call.id, "name": names.sent(call.name), "input": as_object(call.arguments)}
        for call in message.tool_calls or ()
    ]
    if not blocks and not calls:
        return {"role": message.role, "content": message.content}
    text = [{"type": "text", "text": message.content}] if message.content else []
    return {"role": message.role, "content": [*blocks, *text, *calls]}


def _offered(tool: ToolDefinition, names: ToolNames) -> dict[str, Any]:
    said = {} if tool.description is None else {"description": tool.description}
    return {"name": names.sent(tool.name), **said, "input_schema": tool.parameters}


def _merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        last = turns[-1] if turns else None
        if last is None or last["role"] != message["role"]:
            turns.append(message)
        elif isinstance(last["content"], str) and isinstance(message["content"], str):
            last["content"] += "\n\n" + message["content"]
        else:
            last["content"] = [*_blocks(last["content"]), *_blocks(message["content"])]
    return turns


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Reply(BaseModel):
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: Any = None
    error: Reported | str | None = None


class _Delta(BaseModel):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(BaseModel):
    type: str
    #: of the block that an event is about
    index: int | None = None
    content_block: _Block | None = None
    message: _Reply | None = None
    delta: _Delta | None = None
    usage: Any = None
    error: Reported | str | None = None


class _Stream:
    """What the events of one streamed message have said so far."""

    def __init__(self, model: str, text: Text, where: str, calls: Calls | None) -> None:
        self.model = model
        self.text = text
        self._calls = calls
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
        if said.content_block is not None and said.content_block.type == "tool_use" and self._calls is not None:
            self._calls.add(place=said.index, identity=said.content_block.id, name=said.content_block.name, arguments=None)
        if said.delta is not None:
            self._delta(said.delta, said.index)
        self.ended = said.type == "message_stop"
        return self.ended

    def _delta(self, delta: _Delta, place: int | None) -> None:
        if delta.type == "input_json_delta" and self._calls is not None:
            self._calls.add(place=place, identity=None, name=None, arguments=delta.partial_json)
        if delta.type == "text_delta" and delta.text is not None:
            self.text.add(delta.text)
        self.stop_reason = delta.stop_reason or self.stop_reason
