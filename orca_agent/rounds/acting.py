"""Transactions of this node: signed with the staking key, paid for by the main account.

What somebody has done before (this node before a crash, or a peer) is no error: the chain says so, and that is all that was
wanted. Everything else it refuses is raised with its own code.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nacl.signing import SigningKey
from solders.instruction import Instruction

from koii_chain import calls
from koii_chain.client import ChainClient
from koii_chain.instructions import CHUNK_BYTES
from koii_chain.lists import Amounts, write_lists
from koii_chain.state import TaskState
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of

log = logging.getLogger(__name__)

#: codes by which the chain says that it is done already
_DONE = frozenset({"already_processed", "submitted_already", "voted_already", "list_exists", "paid_already", "nothing_to_claim"})


class Acting:
    """Acts on one task."""

    def __init__(self, client: ChainClient, task_id: str, staking: SigningKey, main: SigningKey) -> None:
        self._client = client
        self._task_id = task_id
        self._staking = staking
        self._main = main
        self._key = public_key_of(staking)

    async def submit(self, number: int, value: str) -> None:
        """Put ``value`` on chain for a round."""
        await self._act([calls.submit(self._task_id, self._key, value, number)])

    async def vote(self, number: int, worker: str, *, is_valid: bool) -> None:
        """Vote on what a worker submitted."""
        await self._act([calls.audit_submission(self._task_id, self._key, worker, number, is_valid=is_valid)])

    async def put_list(self, number: int, amounts: Amounts) -> None:
        """Upload a round's list piece by piece and submit it."""
        data = write_lists({number: {self._task_id: amounts}})
        for place in range(0, len(data), CHUNK_BYTES):
            piece = data[place : place + CHUNK_BYTES]
            await self._act([calls.upload_list(self._task_id, self._key, place // CHUNK_BYTES, piece, number)])
        await self._act([calls.submit_list(self._task_id, self._key, number)])

    async def vote_on_list(self, number: int, maker: str, *, is_valid: bool) -> None:
        """Vote on a list: against one that is not what follows from the chain, for one that somebody disputes and is."""
        await self._act([calls.audit_distribution(self._task_id, self._key, maker, number, is_valid=is_valid)])

    async def pay_out(self, number: int, maker: str) -> None:
        """Have a list paid."""
        await self._act([calls.payout(self._task_id, maker, number)], keys=[self._main])

    async def collect(self, task: TaskState) -> None:
        """Move what was credited to this node to its main account's tokens."""
        account = public_key_of(self._main)
        if task.token_type is None:
            raise InvalidError("not_a_token_task", f"task {task.task_id} pays KOII, which this node cannot collect")
        await self._act(
            [
                calls.create_token_account(account, account, task.token_type),
                calls.claim_reward(task, self._key, beneficiary=account),
            ]
        )

    async def _act(self, instructions: Sequence[Instruction], keys: Sequence[SigningKey] | None = None) -> None:
        try:
            await self._client.act(instructions, keys or [self._main, self._staking])
        except InvalidError as error:
            if error.code not in _DONE:
                raise
            log.info("the chain has it already: %s", error)
