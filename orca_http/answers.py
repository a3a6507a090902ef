"""An answer as bytes: what was answered once can be kept and given again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from orca_protocol.canonical import canonical


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, byte for byte."""

    status: int
    content_type: str
    body: bytes


def json_answer(status: int, document: dict[str, Any]) -> Answer:
    """Return a JSON answer."""
    return Answer(status, "application/json", canonical(document))


def respond(answer: Answer, *, retry_after: float | None = None, location: str | None = None) -> Response:
    """Return an answer as a response. What was answered once is answered with the same headers again."""
    headers = {"Cache-Control": "no-store"}
    if answer.status in {429, 503}:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after or 1)))
    if answer.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="orca"'
    if location is not None:
        headers["Location"] = location
    return Response(answer.body, answer.status, headers=headers, media_type=answer.content_type)
