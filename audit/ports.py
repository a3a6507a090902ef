"""What the checks need from the node that runs them; a composition root hands it in."""

from __future__ import annotations

from typing import Protocol

from orca_protocol.model import Answer, ModelIdentity, ModelRequest


class Redecoder(Protocol):
    """Decodes a request again on this node's own copy of an open-weight model.

    Raises UnavailableError where the node cannot: model not installed, weights not loadable, decode failed.
    """

    async def identity(self, model: str) -> ModelIdentity:
        """Return what would answer as ``model`` here: weights digest, engine, numerics id, sampler."""

    async def decode(self, request: ModelRequest, model: str) -> Answer:
        """Answer ``request`` with ``model``."""
