"""Decoding a journaled request again: what the audit's inference check asks of a node that holds the same weights.

The audit declares the port; this is its one implementation, over the same provider, thread and weights as the node's own
calls. It compares nothing and knows nothing of proofs.
"""

from __future__ import annotations

from orca_agent.models.local import LocalProvider
from orca_protocol.model import Answer, ModelIdentity, ModelRequest


class LocalRedecoder:
    """Re-decodes with the local models; the provider belongs to the caller."""

    def __init__(self, provider: LocalProvider) -> None:
        self._provider = provider

    async def identity(self, model: str) -> ModelIdentity:
        """Return what would answer here: the same digest, engine and numerics promise the same tokens.

        Raises UnavailableError ``model_not_installed``, InvalidError ``model_unavailable`` for a name this node never had.
        """
        return await self._provider.identity(model)

    async def decode(self, request: ModelRequest, model: str) -> Answer:
        """Answer ``request`` by ``model``, whatever name the request itself carries. Raises as the provider does."""
        return await self._provider.decode(model, request, None)
