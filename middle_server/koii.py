"""The chain that the middle server asks, read through ``koii_chain``.

Whatever could not be read, or not understood, is "cannot tell" (UnavailableError), also where the chain's client calls it
wrong: a chain that says nonsense is no evidence against the key that was asked about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from koii_chain.client import ChainClient
from koii_chain.distribution import no_list_can_come
from middle_server.chain import Stake
from orca_protocol.errors import InvalidError, LimitError, UnavailableError

T = TypeVar("T")


class KoiiChain:
    """A Chain over ``client``. Koii's allow-list counts where ``needs_allowlist`` says so."""

    def __init__(self, client: ChainClient, *, needs_allowlist: bool = True) -> None:
        self._client = client
        self._needs_allowlist = needs_allowlist

    async def stake(self, task_id: str, key: str) -> Stake:
        """Return the stake of ``key`` in the task."""
        task = (await _read(self._client.task(task_id))).task
        is_active = task.is_active and (task.is_allowlisted or not self._needs_allowlist)
        return Stake(task.stake_list.get(key, 0), task.minimum_stake_amount, is_active=is_active, is_migrated=task.is_migrated)

    async def current_round(self, task_id: str) -> int:
        """Return the round that the task is in now."""
        return await _read(self._round(task_id))

    async def _round(self, task_id: str) -> int:
        task = (await self._client.task(task_id)).task
        return task.clock.round_at(await self._client.slot())

    async def distribution(self, task_id: str, round_number: int) -> Mapping[str, int] | None:
        """Return the list that was paid out for the round: of several the last, as one follows another only when that failed."""
        return await _read(self._paid_out(task_id, round_number))

    async def _paid_out(self, task_id: str, number: int) -> Mapping[str, int] | None:
        snapshot = await self._client.fresh_task(task_id)
        task = snapshot.task
        if task.distributions_audit_record.get(number) != "PayoutSuccessful":
            return {} if no_list_can_come(task, number, snapshot.slot) else None
        entries = task.distribution_rewards_submission.get(number, {})
        lists = await self._client.lists(task_id, number)
        if not entries or lists.keys() != entries.keys():
            raise UnavailableError("chain_unavailable", f"the chain changed while round {number} was read; ask again")
        return lists[max(entries, key=lambda key: entries[key].slot)]


async def _read(question: Awaitable[T]) -> T:
    try:
        return await question
    except (InvalidError, LimitError) as error:
        if error.code == "task_unknown":
            raise
        raise UnavailableError("chain_unavailable", f"the chain could not be understood: {error.detail}") from error
