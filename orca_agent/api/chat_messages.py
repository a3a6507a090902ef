"""A conversation of the OpenAI API in our own terms: instructions, turns, and the one image that a run can show.

Leading ``system`` and ``developer`` messages are instructions, the rest are turns. An image belongs to what the user said last: it
is the run's ``img``, which is fetched once and journaled. Errors name the place in the caller's own list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from orca_protocol.conversation import CALLS_MAX, ChatTurn, broken_at
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError
from orca_protocol.model import Arguments, CalledName, CallId, Strict, ToolCall
from orca_protocol.spec import IMAGE_URL_MAX, Text

_INSTRUCTING = ("system", "developer")
#: of one message
_PARTS_MAX = 1000
_SCHEMES = ("https://", "http://", "data:image/")


class TextPart(Strict):
    """A piece of a message's text."""

    type: Literal["text"]
    text: Text


class ImageUrl(Strict):
    """Where an image is, or the image itself as a data URI."""

    url: str
    detail: str | None = None


class ImagePart(Strict):
    """An image beside a message's text."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _parts_of(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Content = Annotated[
    tuple[Part, ...],
    Field(max_length=_PARTS_MAX, strict=False),
    BeforeValidator(_parts_of, json_schema_input_type=str | tuple[Part, ...]),
]


class Called(Strict):
    """The function that was called."""

    name: CalledName
    arguments: Arguments


class FunctionCall(Strict):
    """A call that an assistant made."""

    id: CallId
    type: Literal["function"] = "function"
    function: Called

    def in_our_form(self) -> ToolCall:
        """Return the call as specs and outputs hold it."""
        return ToolCall(id=self.id, name=self.function.name, arguments=self.function.arguments)


class ChatMessage(Strict):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    tool_calls: Annotated[tuple[FunctionCall, ...], Field(min_length=1, max_length=CALLS_MAX, strict=False)] | None = None
    tool_call_id: CallId | None = None

    @property
    def text(self) -> str | None:
        """Its text, each part on a line of its own; None where it has no content."""
        return None if self.content is None else "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> Iterator[tuple[int, ImageUrl]]:
        """Its images, with their places among the parts."""
        return ((place, part.image_url) for place, part in enumerate(self.content or ()) if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request says."""

    instructions: tuple[str, ...]
    turns: tuple[ChatTurn, ...]
    #: its URL, which may hold it
    image: str | None


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """Return what ``messages`` say. Raises InvalidError ``schema``, or ``field_unsupported`` for what no run can show."""
    begin = next((place for place, message in enumerate(messages) if message.role not in _INSTRUCTING), len(messages))
    instructions = tuple(_instruction(message, place) for place, message in enumerate(messages[:begin]))
    turns = tuple(_turn(message, place) for place, message in enumerate(messages[begin:], start=begin))
    if not turns or turns[-1].role == "assistant":
        raise _wrong(len(messages) - 1, "role: the last message is the user's, or what a tool returned")
    if turns[0].role != "user":
        raise _wrong(begin, "role: a conversation begins with the user")
    broken = broken_at(turns)
    if broken is not None:
        raise _wrong(begin + broken[0], broken[1])
    return Conversation(instructions, turns, _image_of(messages))


def _instruction(message: ChatMessage, place: int) -> str:
    if message.tool_calls is not None or message.tool_call_id is not None:
        raise _wrong(place, f"role: a {message.role} message has a content and nothing else")
    if not message.text:
        raise _wrong(place, "content: a message says something")
    return message.text


def _turn(message: ChatMessage, place: int) -> ChatTurn:
    if message.role in _INSTRUCTING:
        raise _wrong(place, f"role: {message.role} messages stand before all others")
    if not message.text and any(message.images):
        raise _wrong(place, "content: beside an image, a part of the type text says what is to be done with it")
    calls = None if message.tool_calls is None else tuple(call.in_our_form() for call in message.tool_calls)
    fields = {"role": message.role, "tool_calls": calls, "tool_call_id": message.tool_call_id}
    try:
        return ChatTurn.model_validate({**fields, "content": message.text or None if calls else message.text})
    except ValidationError as error:
        raise _wrong(place, describe(error)) from error


def _image_of(messages: Sequence[ChatMessage]) -> str | None:
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    found: list[str] = []
    for place, message in enumerate(messages):
        for part, image in message.images:
            where = f"content[{part}]"
            if message.role != "user":
                raise _wrong(place, f"{where}: only a user shows images")
            if place != last:
                raise _unsupported(place, f"{where}: a run shows one image, with what the user says last; leave earlier ones out")
            if found:
                raise _unsupported(place, f"{where}: a run shows one image; join them into one, or send as many requests")
            found.append(_checked(image, place, f"{where}.image_url"))
    return found[0] if found else None


def _checked(image: ImageUrl, place: int, where: str) -> str:
    if image.detail not in {None, "auto"}:
        raise _unsupported(place, f"{where}.detail: this version sends no such setting to models; leave it out")
    if not image.url.startswith(_SCHEMES):
        raise _wrong(place, f"{where}.url: an https:// or http:// URL or a data:image/…;base64, URI is needed")
    if len(image.url) > IMAGE_URL_MAX:
        why = f"{len(image.url)} characters are more than {IMAGE_URL_MAX}; shrink the image, or send its URL"
        raise _unsupported(place, f"{where}.url: {why}")
    return image.url


def _wrong(place: int, what: str) -> InvalidError:
    return InvalidError("schema", f"body: messages[{place}].{what}")


def _unsupported(place: int, what: str) -> InvalidError:
    return InvalidError("field_unsupported", f"messages[{place}].{what}")
