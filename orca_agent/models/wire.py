"""What the JSON wire formats share: writing a request, reading an answer and its errors, following a stream."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from orca_agent.models.base import Caps, Images, answer_text, error_for, excerpt
from orca_agent.models.sse import Event, SseReader
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Answer, Image, ModelIdentity, TokenLogprob, ToolCall, Usage

T = TypeVar("T", bound=BaseModel)

#: what servers call the errors that they report inside an answer, as a code or as a type (OpenAI, Anthropic, vLLM)
_NAMED = {
    "invalid_request_error": "bad_request",
    "context_length_exceeded": "bad_request",
    "BadRequestError": "bad_request",
    "invalid_api_key": "unauthorised",
    "authentication_error": "unauthorised",
    "insufficient_quota": "payment_required",
    "billing_hard_limit_reached": "payment_required",
    "billing_error": "payment_required",
    "permission_error": "forbidden",
    "unsupported_country_region_territory": "forbidden",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "NotFoundError": "not_found",
    "request_too_large": "request_too_large",
    "content_filter": "model_refused",
    "content_policy_violation": "model_refused",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
}
#: characters of the words that a server has for its model and for the end of an answer; they stand in every entry
_SAID_MAX = 200
_STATUS = re.compile(r"[45][0-9]{2}")
#: worth another try
_PASSING = frozenset({"rate_limited", "overloaded"})


def encode(body: dict[str, Any]) -> bytes:
    """Return the JSON bytes of a request; in ASCII where a text has no bytes in UTF-8, so that any that a model wrote survives."""
    try:
        return to_json(body)
    except PydanticSerializationError:
        return json.dumps(body).encode()


def parsed(kind: type[T], data: bytes | str, where: str) -> T:
    """Return ``data`` as ``kind``; UnavailableError ``malformed_answer``: a server that stammers may speak clearly next time."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _unreadable(error, where) from error


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Let what cannot be read out of the block as UnavailableError ``malformed_answer``."""
    try:
        yield
    except ValidationError as error:
        raise _unreadable(error, where) from error


def _unreadable(error: ValidationError, where: str) -> UnavailableError:
    return UnavailableError("malformed_answer", f"{where} sent an answer that cannot be read: {excerpt(describe(error))}")


class Reported(BaseModel):
    """An error that a server reports inside an answer."""

    message: str | None = None
    code: int | str | None = None
    type: str | None = None


def reported(error: Reported | str, where: str) -> OrcaError:
    """Return what ``error`` means. Its code, be it a name or an HTTP status, says more than its type."""
    if isinstance(error, str):
        error = Reported(message=error, code=error)
    code, kind = str(error.code or ""), error.type or ""
    message = error.message or code or kind
    if _STATUS.fullmatch(code) and kind != "insufficient_quota":
        return error_for(int(code), message, where)
    exact = kind if kind == "insufficient_quota" else code  # also sent as a 429, which waiting does not cure
    found = _NAMED.get(exact) or _NAMED.get(kind)
    detail = f"{where} reported an error: {excerpt(message)}"
    if found is None or found in _PASSING:
        return UnavailableError(found or "server_error", detail)
    return InvalidError(found, detail)


def counted(usage: object, asked: str, said: str) -> Usage | None:
    """Return the figures of those names, or None: half a usage cannot be billed, and neither can an absurd one.

    A server that miscounts has still answered.
    """
    figures = usage if isinstance(usage, dict) else {}
    try:
        return Usage.model_validate({"input_tokens": figures.get(asked), "output_tokens": figures.get(said)})
    except ValidationError:
        return None


def answered(
    text: str | None,
    finish: str,
    model: ModelIdentity,
    usage: Usage | None,
    caps: Caps,
    calls: tuple[ToolCall, ...] | None,
    logprobs: tuple[TokenLogprob, ...] | None = None,
) -> Answer:
    """Return the whole answer; raises as ``answer_text`` and ``Caps.admit`` do, UnavailableError ``malformed_answer``.

    A name is refused and not cut: a proof must not hold one that nobody said.
    """
    for what, said in (("the model's name", model.model), ("the finish reason", finish)):
        if len(said) > _SAID_MAX:
            told = f"{model.provider} sent an answer in which {what} has {len(said)} characters; at most {_SAID_MAX} are read"
            raise UnavailableError("malformed_answer", told)
    content = answer_text(text, finish, model.provider, calls)
    caps.admit(len(content.encode()))
    return Answer.made_of(
        {
            "content": content,
            "finish_reason": finish,
            "model": model,
            "usage": usage,
            "tokens": None,
            "tool_calls": calls,
            "logprobs": logprobs,
        }
    )


def picture(image: Image, images: Images) -> str:
    """Return an image as base64. RuntimeError if the caller forgot its bytes."""
    if image.digest not in images:
        raise RuntimeError(f"the bytes of image {image.digest} were not handed in")
    return base64.b64encode(images[image.digest]).decode("ascii")


async def follow(chunks: AsyncIterable[bytes], caps: Caps, take: Callable[[Event], bool]) -> None:
    """Hand each event of a stream to ``take`` until it says that this was the last, or the stream ends."""
    reader = SseReader(caps)
    async for chunk in chunks:
        for event in reader.feed(chunk):
            if take(event):
                return
