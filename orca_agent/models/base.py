"""The port that every model provider implements, and the one family of errors that comes out of it.

Whatever the world does, a caller sees an ``Answer`` or an ``OrcaError``: InvalidError for what asking again cannot help,
UnavailableError for what it may (with the server's ``Retry-After``), LimitError for an answer beyond a cap. Details quote
at most a short printable excerpt of a server's message, with anything that looks like a key struck out. Retrying is
``retry.py``'s business alone: a provider asks once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelRequest, ToolCall

#: receives each piece of text as it arrives, in the event loop's thread
Deltas = Callable[[str], None]
#: the bytes of a request's images, by their digests
Images = Mapping[str, bytes]
NO_IMAGES: Images = MappingProxyType({})


class Provider(Protocol):
    """Something that answers model calls. Safe for any number of calls at once in one event loop."""

    @property
    def name(self) -> str:
        """The operator's label for this provider; it stands in ``ModelIdentity.provider``."""

    async def models(self) -> tuple[str, ...]:
        """Return the names that resolve to this provider. Raises UnavailableError or InvalidError when it cannot tell."""

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask ``model`` once. ``on_delta`` makes the provider stream; what it got is void if an error follows.

        What a provider cannot do of a request it refuses by name before anything is asked: InvalidError ``tools_unsupported``,
        ``schema_unsupported``, ``vision_unsupported``, ``logprobs_unsupported``.
        ``images`` holds at least the images that the request names.
        Raises only the OrcaError family, and CancelledError when the caller cancels, after which no delta is delivered.
        """

    async def close(self) -> None:
        """Release what this provider itself holds; calls still running end with an error. Closing twice is harmless."""


@runtime_checkable
class Keyed(Protocol):
    """A provider with keys that can be asked about."""

    @property
    def name(self) -> str:
        """The operator's label for it."""

    async def examined(self) -> tuple[OrcaError | None, ...]:
        """Return what the server has against each key, None where it lets it in."""


@dataclass(frozen=True)
class Caps:
    """How much is read from a model server before it is cut off."""

    #: text of one answer, in UTF-8 bytes
    answer_bytes: int = 4 * 2**20
    #: one response body; JSON may escape a character sixfold
    body_bytes: int = 32 * 2**20
    #: one server-sent event
    event_bytes: int = 2**20
    #: one whole stream: each token comes wrapped in some 300 bytes
    stream_bytes: int = 256 * 2**20
    #: how many names a listing may hold
    listed_models: int = 10_000

    def admit(self, answer_bytes: int) -> None:
        """Raises LimitError ``answer_too_large`` where an answer of that many bytes is too long."""
        if answer_bytes > self.answer_bytes:
            raise LimitError("answer_too_large", f"the model's answer is longer than {self.answer_bytes} bytes; it was cut off")


class Text:
    """The text of one answer as it grows, never beyond its cap."""

    def __init__(self, caps: Caps, on_delta: Deltas | None) -> None:
        self._caps = caps
        self._on_delta = on_delta
        self._pieces: list[str] = []
        self._bytes = 0

    def add(self, piece: str) -> None:
        """Take one piece and pass it on. Raises LimitError ``answer_too_large``."""
        self._bytes += len(piece.encode())
        self._caps.admit(self._bytes)
        self._pieces.append(piece)
        if piece and self._on_delta is not None:
            self._on_delta(piece)

    @property
    def started(self) -> bool:
        """Whether any piece came, be it an empty one: tells an empty answer from none."""
        return bool(self._pieces)

    def __str__(self) -> str:
        return "".join(self._pieces)


def answer_text(content: str | None, finish_reason: str, where: str, calls: tuple[ToolCall, ...] | None = None) -> str:
    """Return ``content`` if it counts as an answer: text, or whatever stands beside tool calls.

    Raises InvalidError ``model_refused`` (a filter or the model broke it off: what had come is no answer) or ``empty_answer``
    (nothing came: the tokens went into reasoning, or the model called tools that nobody offered), for the same request would
    come out the same way again; UnavailableError ``server_error`` where the server itself says that it failed. Blanks alone are
    empty too: whoever reads them, the next agent or a person, has been told nothing, and that must not look like success.
    """
    if finish_reason in ("content_filter", "refusal"):
        raise InvalidError("model_refused", f"{where} declined to answer ({finish_reason})")
    if finish_reason == "error":
        raise UnavailableError("server_error", f"{where} ended its answer with an error and did not say which")
    if calls:
        return content or ""
    if content and not content.isspace():
        return content
    raise InvalidError("empty_answer", f"{where} ended with {excerpt(finish_reason, 40)!r} and no text")


def shows_images(request: ModelRequest) -> bool:
    """Whether ``request`` has any."""
    return any(message.images for message in request.messages)


def refuse_logprobs(request: ModelRequest, where: str) -> None:
    """Raise InvalidError ``logprobs_unsupported`` where they are asked for of who gives none."""
    if request.logprobs:
        raise InvalidError("logprobs_unsupported", f"{where} gives no log probabilities; leave logprobs out for this agent")


def refuse_blind(inputs: tuple[str, ...], where: str) -> None:
    """Raise InvalidError ``vision_unsupported`` for a model that is known to read other things than images."""
    if inputs and "image" not in inputs:
        raise InvalidError("vision_unsupported", f"{where} reads {', '.join(inputs)} and no images; name a model that sees")


_INVALID = {
    400: "bad_request",
    401: "unauthorised",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    413: "request_too_large",
    422: "bad_request",
}
#: 409 and 425 are a server's "not now", not a judgement of the request
_UNAVAILABLE = {
    408: "request_timeout",
    409: "conflict",
    425: "too_early",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}


def error_for(status: int, message: str, where: str, *, retry_after: float | None = None) -> OrcaError:
    """Return the error that HTTP ``status`` means; 3xx too, because no redirect is ever followed."""
    said = f": {excerpt(message)}" if message.strip() else ""
    detail = f"{where} answered HTTP {status}{said}"
    if status == 402 and retry_after is not None:  # OpenRouter's way to say that calls under way have reserved what is left
        return UnavailableError("payment_required", detail, retry_after=retry_after)
    if status in _UNAVAILABLE or status >= 500:
        return UnavailableError(_UNAVAILABLE.get(status, "server_error"), detail, retry_after=retry_after)
    if 300 <= status < 400:
        return InvalidError("redirect_refused", f"{detail}; redirects are not followed, correct the base URL")
    return InvalidError(_INVALID.get(status, "model_refused"), detail)


_KEYLIKE = re.compile(r"(?i)\b(?:sk|pk|rk|key)[-_][\w*.-]{6,}|\b(?:bearer|basic) +[\w*.+/=-]{6,}|\b[\w-]{40,}\b")


def excerpt(text: str, length: int = 300) -> str:
    """Return the beginning of a stranger's text as one printable line, with anything that looks like a key struck out.

    It is cut between words: half a key would not be recognised by whoever strikes out whole ones.
    """
    words = text[: 4 * length].split()
    if len(text) > 4 * length and words:
        words.pop()
    line = _KEYLIKE.sub("[struck out]", " ".join(words))
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= length and len(text) <= 4 * length else line[:length].rpartition(" ")[0] + "…"


_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110 §10.2.3: seconds or a date), None if it is not clear."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:  # "-0000": the sender claims no zone; HTTP dates are UTC
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):  # a year or a zone may be any number
        return None
