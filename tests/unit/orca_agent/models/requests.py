"""Requests that the tests of this folder ask."""

from __future__ import annotations

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
