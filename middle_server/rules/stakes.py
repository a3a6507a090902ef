"""Who may work: a key with enough at stake in a task that is going on. What the chain did not say is not here."""

from __future__ import annotations

from middle_server.chain import Stake
from orca_protocol.errors import InvalidError


def check_stake(stake: Stake, *, at_least: int) -> None:
    """Raise InvalidError unless the key may work.

    Codes: ``task_migrated``, ``task_inactive``, ``not_staked``, ``stake_too_low``. ``at_least`` is the operator's own floor.
    """
    if stake.is_migrated:
        raise InvalidError("task_migrated", "the task has moved to another id; join that one")
    if not stake.is_active:
        raise InvalidError("task_inactive", "the task is not active; nobody works for it now")
    if stake.amount <= 0:
        raise InvalidError("not_staked", "this key has no stake in the task; stake first")
    minimum = max(stake.minimum, at_least)
    if stake.amount < minimum:
        raise InvalidError("stake_too_low", f"this key's stake is {stake.amount} base units; the task asks for {minimum}")
