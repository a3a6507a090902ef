"""What the checks need from the node that runs them; a composition root hands it in."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Standing:
    """What the chain says of one key in one round of a task. A fault is a sentence; None means there is none."""

    #: not staked, too little, task inactive, migrated
    stake_fault: str | None
    #: not among the round's submitters, or submitted outside of the window
    submission_fault: str | None


class ChainView(Protocol):
    """What the auditor's node reads from the chain. Raises UnavailableError where it cannot: never a guess."""

    async def standing(self, key: str, task_id: str, round_number: int) -> Standing:
        """Return how ``key`` stands in that round."""


class LeaseView(Protocol):
    """What the auditor's node asks the middle server. Raises UnavailableError where it does not answer."""

    async def current_token(self, work_item: str) -> str:
        """Return the fencing token of the lease that counts for ``work_item``."""
