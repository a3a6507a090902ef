"""Whether a key counts: decided from what the chain says, with the reason, and never in favour of what could not be read.

Whoever could not read the chain holds no ``TaskState`` and so cannot ask here: there is no answer for "the node was down".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from koii_chain.state import TaskState, Trigger
from orca_protocol.errors import InvalidError

MINTED_ELSEWHERE = "other_mint"


@dataclass(frozen=True, slots=True)
class Standing:
    """``code`` is ``ok`` or the first reason why not."""

    code: str
    detail: str

    @property
    def is_staked(self) -> bool:
        """Whether the key counts."""
        return self.code == "ok"

    def required(self) -> None:
        """Raise InvalidError with the reason unless the key counts."""
        if not self.is_staked:
            raise InvalidError(self.code, self.detail)


def task_standing(task: TaskState, *, mint: str | None = None) -> Standing:
    """Say whether the task itself is in force; ``mint`` is the token it must be paid in, where that matters."""
    if not task.is_active:
        return Standing("task_inactive", f"task {task.task_id} is not active")
    if not task.is_allowlisted:
        return Standing("task_not_allowlisted", f"task {task.task_id} is not on Koii's allow-list")
    if task.is_migrated:
        return Standing("task_migrated", f"task {task.task_id} has moved to {task.migrated_to or 'another task'}")
    if mint is not None and task.token_type != mint:
        return Standing(MINTED_ELSEWHERE, f"task {task.task_id} is paid in {task.token_type or 'KOII'}, not in {mint}")
    return Standing("ok", f"task {task.task_id} is in force")


def stake_standing(task: TaskState, key: str, *, mint: str | None = None, submitted: int | None = None) -> Standing:
    """Say whether ``key`` may act on the task, and, where ``submitted`` names a round, whether it submitted for it."""
    standing = task_standing(task, mint=mint)
    if not standing.is_staked:
        return standing
    amount = task.stake_list.get(key, 0)
    if amount == 0:
        return Standing("not_staked", f"{key} has no stake on task {task.task_id}")
    if amount < task.minimum_stake_amount:
        return Standing("stake_below_minimum", f"{key} staked {amount}; task {task.task_id} asks for {task.minimum_stake_amount}")
    if submitted is not None and task.submitted(submitted, key) is None:
        return Standing("not_a_submitter", f"{key} submitted nothing for round {submitted} of task {task.task_id}")
    return Standing("ok", f"{key} staked {amount} on task {task.task_id}")


def is_upheld(trigger: Trigger | None, stakes: Mapping[str, int]) -> bool:
    """Whether a dispute stands: the stake that voted against is more than the stake that voted for. Nobody counts twice."""
    if trigger is None:
        return False
    sides = {vote.voter: vote.is_valid for vote in reversed(trigger.votes)}
    against = sum(stakes.get(voter, 0) for voter, is_valid in sides.items() if not is_valid)
    return against > sum(stakes.get(voter, 0) for voter, is_valid in sides.items() if is_valid)
