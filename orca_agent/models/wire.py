"""What the JSON wire formats share: writing a request, reading an answer, following a stream, reading a listing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orca_agent.models.base import Caps, excerpt
from orca_agent.models.sse import Event, SseReader
from orca_protocol.documents import describe
from orca_protocol.errors import UnavailableError

T = TypeVar("T", bound=BaseModel)


def encode(body: dict[str, Any]) -> bytes:
    """Return the JSON bytes of a request; ASCII only, so that any text a spec may hold survives the way."""
    return json.dumps(body).encode()


def parsed(kind: type[T], data: bytes | str, where: str) -> T:
    """Return ``data`` as ``kind``; UnavailableError ``malformed_answer``: a server that stammers may speak clearly next time."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise UnavailableError(
            "malformed_answer", f"{where} sent an answer that cannot be read: {excerpt(describe(error))}"
        ) from error


async def follow(chunks: AsyncIterable[bytes], caps: Caps, take: Callable[[Event], bool]) -> None:
    """Hand each event of a stream to ``take`` until it says that this was the last, or the stream ends."""
    reader = SseReader(caps)
    async for chunk in chunks:
        for event in reader.feed(chunk):
            if take(event):
                return


class _Listed(BaseModel):
    id: str


class _Listing(BaseModel):
    data: list[_Listed]


def listed(body: bytes, where: str, limit: int) -> tuple[str, ...]:
    """Return the names in a ``{"data": [{"id": …}]}`` listing, in its order, each once."""
    names = dict.fromkeys(entry.id for entry in parsed(_Listing, body, where).data)
    if len(names) > limit:
        raise UnavailableError("malformed_answer", f"{where} lists {len(names)} models; at most {limit} are read")
    return tuple(names)
