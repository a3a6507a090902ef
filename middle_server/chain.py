"""What the middle server asks of the chain. A composition root hands in something that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stake:
    """What the chain says of one key in one task. Amounts are base units of what the task stakes."""

    #: 0 for a key that is not in the stake list
    amount: int
    minimum: int
    is_active: bool
    is_migrated: bool


class Chain(Protocol):
    """Reads the chain.

    Every method raises UnavailableError where it cannot tell, and InvalidError ``task_unknown`` for a task that is not there.
    No answer is ever made up: whoever asks treats "cannot tell" as no.
    """

    async def stake(self, task_id: str, key: str) -> Stake:
        """Return the stake of ``key`` in the task."""

    async def current_round(self, task_id: str) -> int:
        """Return the round that the task is in now."""

    async def distribution(self, task_id: str, round_number: int) -> Mapping[str, int] | None:
        """Return the list that the chain has paid out for the round, by staking key; None as long as it has paid out none.

        A list that was only submitted, or that failed its audit, is not one. Empty: the round is over, and no list can come.
        """
