"""Requests that the tests of this folder ask, and streams that answer them."""

from __future__ import annotations

import json
from typing import Any

from orca_protocol.model import Message, ModelRequest


def asked(agent: str = "A", task: str = "TASK", **changed: object) -> ModelRequest:
    """A request of ``agent``; ``changed`` replaces fields."""
    fields: dict[str, object] = {
        "model": "some-model",
        "messages": (Message(role="system", content=f"You are AGENT:{agent} here"), Message(role="user", content=task)),
        "max_tokens": 64,
        "temperature": 0.5,
        "seed": 7,
    }
    return ModelRequest.model_validate({**fields, **changed})


class Sent:
    """Chunks as they arrive from a server."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._rest = iter(chunks)

    def __aiter__(self) -> Sent:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._rest:
            return chunk
        raise StopAsyncIteration


def events(*said: dict[str, Any]) -> Sent:
    """One server-sent event for each document."""
    return Sent([f"event: x\ndata: {json.dumps(document)}\n\n".encode() for document in said])


#: what a server may say where a number of tokens belongs
ABSURD: list[Any] = [-1, 10_000_000_001, 2**53, 10**400, 7.0, 7.5, 1e300, float("nan"), "7", "many", True, [], {}]
