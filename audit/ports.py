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


@dataclass(frozen=True, slots=True)
class LeaseStanding:
    """What the middle server says of the lease that counts for a work item by now."""

    fencing_token: str
    #: the proof reported under it, None as long as there is none
    cid: str | None
    #: the round that proof stands in, None as long as it stands in none
    round: int | None


class LeaseView(Protocol):
    """What the auditor's node asks the middle server. Raises UnavailableError where it does not answer."""

    async def lease_now(self, work_item: str) -> LeaseStanding:
        """Return how the lease that counts for ``work_item`` stands."""
