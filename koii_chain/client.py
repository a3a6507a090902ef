"""The chain as this node sees it: typed answers over ``rpc``, task states no staler than a bound, transactions until confirmed.

Task states are kept for a while, because many questions are about one task; their age counts from when they were asked for,
and what is older than the bound is never served: then there is an answer from the chain, or an error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from cachetools import TLRUCache
from nacl.signing import SigningKey
from pydantic import Field, TypeAdapter, ValidationError
from solders.instruction import Instruction

from koii_chain.account import read_koii, read_kpl
from koii_chain.addresses import KOII_PROGRAM, KPL_PROGRAM, TOKEN_PROGRAM, token_account
from koii_chain.lists import Amounts, read_lists
from koii_chain.rpc import JsonRpc
from koii_chain.stake import Standing, stake_standing
from koii_chain.state import U64, ChainValue, Key, Submission, TaskState
from koii_chain.transaction import build, signature_of
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58

T = TypeVar("T")
_TOKEN_ACCOUNT_BYTES = 165


class _AccountValue(ChainValue):
    data: Annotated[list[str], Field(min_length=2, max_length=2)]
    owner: Key
    lamports: U64


class _BlockhashValue(ChainValue):
    blockhash: Key


class _StatusValue(ChainValue):
    slot: U64
    err: Any = None
    confirmation_status: str | None = Field(alias="confirmationStatus", default=None)


_ACCOUNT: TypeAdapter[_AccountValue | None] = TypeAdapter(_AccountValue | None)
_BLOCKHASH: TypeAdapter[_BlockhashValue] = TypeAdapter(_BlockhashValue)
_STATUSES: TypeAdapter[list[_StatusValue | None]] = TypeAdapter(
    Annotated[list[_StatusValue | None], Field(min_length=1, max_length=1)]
)
_NUMBER: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(strict=True, ge=0)])
_BOOLEAN: TypeAdapter[bool] = TypeAdapter(Annotated[bool, Field(strict=True)])
_TEXT: TypeAdapter[str] = TypeAdapter(Annotated[str, Field(strict=True, max_length=200)])


@dataclass(frozen=True)
class AccountInfo:
    """An account's content, and the slot it was read at."""

    owner: str
    lamports: int
    data: bytes
    slot: int


@dataclass(frozen=True)
class Snapshot:
    """A task's state, the slot it was read at, and when (by this machine's steady clock) it was asked for."""

    task: TaskState
    slot: int
    asked: float


@dataclass(frozen=True)
class StakeInfo:
    """What the chain says about one key's stake."""

    amount: int
    minimum_stake_amount: int
    is_active: bool
    is_migrated: bool
    slot: int


class ChainClient:
    """Asks and acts for one node."""

    def __init__(self, rpc: JsonRpc, *, stale_seconds: float = 20.0, steady: Callable[[], float] = time.monotonic) -> None:
        self.rpc = rpc
        self._steady = steady
        self._tasks: TLRUCache[str, Snapshot] = TLRUCache(
            maxsize=64, ttu=lambda _key, snapshot, _now: snapshot.asked + stale_seconds, timer=steady
        )
        self._reading = asyncio.Lock()

    async def slot(self) -> int:
        """Return the chain's slot."""
        return _checked(_NUMBER, (await self.rpc.call("getSlot", [])).value, "getSlot")

    async def blockhash(self) -> str:
        """Return a blockhash to sign over."""
        answer = await self.rpc.call("getLatestBlockhash", [])
        return _checked(_BLOCKHASH, answer.value, "getLatestBlockhash").blockhash

    async def is_good(self, blockhash: str) -> bool:
        """Whether transactions over a blockhash can still take effect."""
        return _checked(_BOOLEAN, (await self.rpc.call("isBlockhashValid", [blockhash])).value, "isBlockhashValid")

    async def balance(self, key: str) -> int:
        """Return the KOII that a key has, in ROE."""
        return _checked(_NUMBER, (await self.rpc.call("getBalance", [key])).value, "getBalance")

    async def account(self, key: str) -> AccountInfo | None:
        """Return an account, or None when the chain says there is none."""
        decode_base58(key, length=PUBLIC_KEY_BYTES, where="the account")
        answer = await self.rpc.call("getAccountInfo", [key, {"encoding": "base64"}])
        if answer.slot is None:
            raise InvalidError("rpc_malformed", "getAccountInfo answered without a slot")
        value = _checked(_ACCOUNT, answer.value, "getAccountInfo")
        if value is None:
            return None
        return AccountInfo(value.owner, value.lamports, _base64(value.data), answer.slot)

    async def task(self, task_id: str) -> Snapshot:
        """Return a task's state, of now or kept within the bound.

        Raises InvalidError ``task_unknown`` or ``not_a_task``, and what ``account`` and the account's reader raise.
        """
        async with self._reading:
            kept = self._tasks.get(task_id)
            if kept is None:
                kept = self._tasks[task_id] = await self._read_task(task_id)
            return kept

    async def fresh_task(self, task_id: str) -> Snapshot:
        """Return a task's state of now, as for decisions about money."""
        async with self._reading:
            self._tasks.pop(task_id, None)
            snapshot = self._tasks[task_id] = await self._read_task(task_id)
            return snapshot

    async def stake(self, task_id: str, key: str) -> StakeInfo:
        """Return what a key has staked, and on what terms; an amount of 0 where it has nothing."""
        snapshot = await self.task(task_id)
        task = snapshot.task
        amount = task.stake_list.get(key, 0)
        return StakeInfo(amount, task.minimum_stake_amount, task.is_active, task.is_migrated, snapshot.slot)

    async def standing(self, task_id: str, key: str, *, mint: str | None = None, submitted: int | None = None) -> Standing:
        """Return whether a key counts on a task (``stake.stake_standing``). An unreadable chain raises: it never says yes."""
        return stake_standing((await self.task(task_id)).task, key, mint=mint, submitted=submitted)

    async def submissions(self, task_id: str, number: int) -> dict[str, Submission]:
        """Return what was submitted for a round, by key."""
        return dict((await self.task(task_id)).task.submissions.get(number, {}))

    async def lists(self, task_id: str, number: int) -> dict[str, Amounts]:
        """Return the lists submitted for a round, by key. Raises InvalidError ``distribution_list`` for one that is not there."""
        found: dict[str, Amounts] = {}
        for key, entry in sorted((await self.task(task_id)).task.distribution_rewards_submission.get(number, {}).items()):
            account = await self.account(entry.submission_value)
            lists = {} if account is None else read_lists(account.data, where=f"the list of {key}")
            if task_id not in lists.get(number, {}):
                raise InvalidError("distribution_list", f"the account of {key} holds no list for round {number} of {task_id}")
            found[key] = lists[number][task_id]
        return found

    async def tokens(self, owner: str, mint: str) -> int:
        """Return the base units of a token that an owner has in the usual account; 0 where there is no such account."""
        account = await self.account(token_account(owner, mint))
        if account is None:
            return 0
        if account.owner != TOKEN_PROGRAM or len(account.data) != _TOKEN_ACCOUNT_BYTES:
            raise InvalidError("not_a_token_account", f"the token account of {owner} is not what its address promises")
        return int.from_bytes(account.data[64:72], "little")

    async def send(self, raw: bytes) -> str:
        """Hand a signed transaction to the chain and return its signature. Raises InvalidError with the chain's code."""
        try:
            answer = await self.rpc.call("sendTransaction", [base64.b64encode(raw).decode(), {"encoding": "base64"}])
        finally:  # a refusal, too, may mean that a kept state is not the chain's any more
            self._tasks.clear()
        signature = _checked(_TEXT, answer.value, "sendTransaction")
        if signature != signature_of(raw):
            raise InvalidError("rpc_malformed", "sendTransaction answered with the signature of another transaction")
        return signature

    async def is_confirmed(self, signature: str) -> bool:
        """Whether a transaction took effect, however long ago.

        Raises InvalidError ``transaction_failed`` when the chain took it and it failed.
        """
        answer = await self.rpc.call("getSignatureStatuses", [[signature], {"searchTransactionHistory": True}])
        (status,) = _checked(_STATUSES, answer.value, "getSignatureStatuses")
        if status is None:
            return False
        if status.err is not None:
            raise InvalidError("transaction_failed", f"transaction {signature} failed: {str(status.err)[:200]}")
        return status.confirmation_status in ("confirmed", "finalized")

    async def confirmed(self, signature: str, *, seconds: float = 60.0, pause: float = 0.4) -> None:
        """Return when a transaction took effect. Raises UnavailableError ``unconfirmed`` in the end, or as ``is_confirmed``."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.is_confirmed(signature):  # noqa: ASYNC110 - a chain has no event to wait for
                    await asyncio.sleep(pause)
        except TimeoutError as error:
            raise UnavailableError("unconfirmed", f"transaction {signature} was not confirmed in {seconds:g} s") from error
        finally:
            self._tasks.clear()

    async def act(self, instructions: Sequence[Instruction], keys: Sequence[SigningKey], *, seconds: float = 60.0) -> str:
        """Build, sign, send and confirm; the first key pays. Returns the signature.

        A lost answer is not a second transaction: the same bytes are looked for on the chain. Raises as ``send`` and ``confirmed``,
        and InvalidError ``already_processed`` for instructions that these keys have already sent within the same slot.
        """
        raw = build(instructions, keys, await self.blockhash())
        signature = signature_of(raw)
        if await self.is_confirmed(signature):
            raise InvalidError("already_processed", "the same instructions were accepted in this slot; send them again in the next")
        return await self.push(raw, seconds=seconds)

    async def push(self, raw: bytes, *, seconds: float = 60.0) -> str:
        """Send a signed transaction, again if need be, and confirm it. Returns the signature; raises as ``act`` does."""
        signature = signature_of(raw)
        try:
            await self.send(raw)
        except UnavailableError:
            if not await self.is_confirmed(signature):
                raise
        except InvalidError as error:
            # An endpoint took it and its answer was lost; the next one has seen it already.
            if error.code != "already_processed":
                raise
        await self.confirmed(signature, seconds=seconds)
        return signature

    async def close(self) -> None:
        """Close the connections."""
        await self.rpc.close()

    async def _read_task(self, task_id: str) -> Snapshot:
        asked = self._steady()
        account = await self.account(task_id)
        if account is None:
            raise InvalidError("task_unknown", f"the chain has no account {task_id}")
        if account.owner == KPL_PROGRAM:
            return Snapshot(read_kpl(account.data, task_id), account.slot, asked)
        if account.owner == KOII_PROGRAM:
            return Snapshot(read_koii(account.data, task_id), account.slot, asked)
        raise InvalidError("not_a_task", f"account {task_id} belongs to {account.owner}, which is no task program")


def _checked(kind: TypeAdapter[T], value: Any, method: str) -> T:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidError("rpc_malformed", f"{method} answered something else: {describe(error)}") from error


def _base64(data: list[str]) -> bytes:
    text, encoding = data
    if encoding != "base64":
        raise InvalidError("rpc_malformed", f"an account came as {encoding[:40]!r}, not as base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("rpc_malformed", "an account's content is not base64") from error
