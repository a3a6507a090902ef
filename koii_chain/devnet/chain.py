"""The devnet itself: what it accepted, in order, is its state; the same log gives the same state, after a kill -9 too.

A transaction goes through in this order, and the first that fails refuses it without a trace:

1. its form and every signature (``transaction.open_transaction``);
2. its blockhash is one of the last 150 slots of this devnet, whose identity is random;
3. it was not accepted before: neither its signature nor its message, which a payer could sign again;
4. the rules of the task program, on the world as it is (``processor``, ``program``, ``rounds``);
5. a rehearsal of every token movement, together, by the real programs (``ledger``);
6. it is on disk (``log``). Only now anything changes.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import base58
from solders.account import Account
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from koii_chain.account import write_kpl
from koii_chain.addresses import KPL_PROGRAM, pubkey
from koii_chain.calls import TOKEN_DECIMALS, create_token_account
from koii_chain.devnet.ledger import Ledger
from koii_chain.devnet.log import RecordLog
from koii_chain.devnet.processor import Plan, planned
from koii_chain.devnet.program import World
from koii_chain.devnet.records import (
    Advanced,
    Airdropped,
    Genesis,
    Minted,
    Record,
    Transacted,
    read_record,
    u64_of,
    write_record,
)
from koii_chain.lists import write_lists
from koii_chain.transaction import Opened, open_transaction
from orca_protocol.canonical import canonical, sha256_hex
from orca_protocol.errors import InvalidError, UnavailableError

#: slots for which a blockhash is good
BLOCKHASH_SLOTS: Final = 150
SLOT_SECONDS: Final = 0.4
_FAUCET_LAMPORTS: Final = 10**15


def devnet_address(name: str) -> str:
    """Return an address of the devnet that nobody holds a key for."""
    return str(Pubkey.find_program_address([b"orca devnet", name.encode()], pubkey(KPL_PROGRAM))[0])


#: the devnet's $SWARMS, the same on every devnet
DEVNET_MINT: Final = devnet_address("mint")
_FAUCET: Final = devnet_address("faucet")


class Chain:
    """One devnet. Not for several threads: whoever serves it asks one thing at a time."""

    def __init__(self, folder: Path, *, real_time: bool = False, wall: Callable[[], float] = time.time) -> None:
        """Open the devnet in ``folder``, or begin one. Raises as ``RecordLog`` does, InvalidError ``devnet_log_damaged``."""
        self._log = RecordLog(folder / "chain.log")
        self._real_time = real_time
        self._wall = wall
        #: a change that was logged did not go through: memory and disk differ, and only a start from disk heals that
        self._broken = False
        self.records = 0
        self.world = World()
        self._slot = 0
        self._advanced = 0
        #: signature → slot and bytes of every accepted transaction
        self.transactions: dict[str, tuple[int, bytes]] = {}
        self._messages: dict[bytes, int] = {}
        try:
            self._begin([read_record(data) for data in self._log.replay()])
        except BaseException:
            self._log.close()
            raise

    def slot(self) -> int:
        """Return the slot it is now; it never goes back."""
        if self._real_time:
            passed = int((self._wall() - self.genesis.unix) / SLOT_SECONDS)
            self._slot = max(self._slot, self.genesis.slot + self._advanced + passed)
        return self._slot

    def unix_time(self, slot: int) -> int:
        """Return the time that programs see at a slot."""
        return self.genesis.unix + int((slot - self.genesis.slot) * SLOT_SECONDS)

    def blockhash(self, slot: int) -> str:
        """Return the blockhash of a slot."""
        seed = bytes.fromhex(self.genesis.id) + slot.to_bytes(8, "big")
        return base58.b58encode(hashlib.sha256(b"orca devnet blockhash" + seed).digest()).decode()

    def is_recent(self, blockhash: str) -> bool:
        """Whether a blockhash is still good."""
        slot = self.slot()
        return any(blockhash == self.blockhash(past) for past in range(max(0, slot - BLOCKHASH_SLOTS + 1), slot + 1))

    def submit(self, raw: bytes) -> str:
        """Accept a transaction and return its signature, or raise InvalidError with the reason; see the top of this file."""
        opened = open_transaction(raw)
        if not self.is_recent(opened.blockhash):
            raise InvalidError(
                "blockhash_expired", f"the blockhash {opened.blockhash} is not of this devnet's last {BLOCKHASH_SLOTS} slots"
            )
        self._refuse_repeated(opened)
        slot = self.slot()
        plan = self._planned(opened, slot)
        self._write(Transacted(slot=slot, data=base64.b64encode(raw).decode()))
        self._commit(opened, slot, plan)
        return opened.signature

    def advance(self, slots: int) -> int:
        """Wind the clock on and return the new slot."""
        if not 1 <= slots <= 10**9:
            raise InvalidError("slots", "the clock is wound on by 1 to 10^9 slots")
        return self._accept(Advanced(slot=self.slot(), slots=slots))

    def airdrop(self, key: str, lamports: int) -> None:
        """Give KOII (in ROE) to a key. Raises InvalidError ``base58`` or ``amount``."""
        pubkey(key)
        held = self.ledger.account(key)
        u64_of(str(lamports + (held.lamports if held else 0)), what="what the key then holds")
        u64_of(str(lamports), what="an airdrop")
        self._accept(Airdropped(slot=self.slot(), key=key, amount=str(lamports)))

    def mint(self, owner: str, amount: int) -> None:
        """Give tokens to a key. Raises InvalidError ``base58``, ``amount`` or ``transaction_failed``."""
        u64_of(str(amount), what="an amount")
        self._clock_to(self.slot())
        self.ledger.rehearse(self._minting(owner, amount), _FAUCET)
        self._accept(Minted(slot=self.slot(), owner=owner, amount=str(amount)))

    def account(self, key: str) -> Account | None:
        """Return an account with the content that the task program gives it."""
        held = self.ledger.account(key)
        if held is None:
            return None
        if key in self.world.tasks:
            return Account(held.lamports, write_kpl(self.world.tasks[key]), held.owner)
        if key in self.world.lists:
            return Account(held.lamports, write_lists(self.world.lists[key]), held.owner)
        return held

    def digest(self) -> str:
        """Return a hash over the whole state: equal logs give equal digests."""
        uploads = {key: [up.task_id, up.round, up.pieces, sha256_hex(up.data)] for key, up in self.world.uploads.items()}
        return sha256_hex(
            canonical(
                {
                    "genesis": self.genesis.id,
                    "slot": self._slot,
                    "advanced": self._advanced,
                    "tasks": {key: sha256_hex(write_kpl(task)) for key, task in self.world.tasks.items()},
                    "lists": {key: sha256_hex(write_lists(lists)) for key, lists in self.world.lists.items()},
                    "uploads": uploads,
                    "signatures": sorted(self.transactions),
                    "ledger": self.ledger.digest().hex(),
                }
            )
        )

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _begin(self, records: list[Record]) -> None:
        first = (
            records[0] if records else Genesis(id=secrets.token_hex(32), slot=0, unix=int(self._wall()), decimals=TOKEN_DECIMALS)
        )
        if not isinstance(first, Genesis):
            raise InvalidError("devnet_log_damaged", "the devnet's log does not begin with its genesis")
        self.genesis = first
        self._slot = first.slot
        self.ledger = Ledger(DEVNET_MINT, _FAUCET, first.decimals)
        self.ledger.airdrop(_FAUCET, _FAUCET_LAMPORTS)
        if not records:
            self._write(first)
            return
        self.records = 1
        for record in records[1:]:
            try:
                self._apply(record)
            except InvalidError as error:
                raise InvalidError(
                    "devnet_log_damaged", f"record {self.records + 1} is refused by its own devnet: {error}"
                ) from error
            self.records += 1

    def _accept(self, record: Record) -> int:
        self._write(record)
        self._broken = True
        self._apply(record)
        self._broken = False
        return self._slot

    def _apply(self, record: Record) -> None:
        """Do what a record of the log says; whether it may be done was decided before it was written."""
        if isinstance(record, Genesis):
            raise InvalidError("devnet_log_damaged", "a devnet has one genesis")
        self._slot = max(self._slot, record.slot)
        match record:
            case Advanced():
                self._advanced += record.slots
                self._slot += record.slots
            case Airdropped():
                self.ledger.airdrop(record.key, u64_of(record.amount, what="an airdrop"))
            case Minted():
                self._clock_to(record.slot)
                self.ledger.execute(self._minting(record.owner, u64_of(record.amount, what="an amount")), _FAUCET)
            case Transacted():
                opened = open_transaction(base64.b64decode(record.data))
                self._refuse_repeated(opened)
                self._commit(opened, record.slot, self._planned(opened, record.slot))

    def _write(self, record: Record) -> None:
        if self._broken:
            raise UnavailableError("devnet_broken", "the devnet could not do what it had accepted; restart it, its log is sound")
        self._log.append(write_record(record))
        self.records += 1

    def _refuse_repeated(self, opened: Opened) -> None:
        if opened.signature in self.transactions or _message_digest(opened) in self._messages:
            raise InvalidError("already_processed", f"transaction {opened.signature} was accepted before")

    def _planned(self, opened: Opened, slot: int) -> Plan:
        self._clock_to(slot)
        return planned(self.ledger, self.world, opened, slot)

    def _commit(self, opened: Opened, slot: int, plan: Plan) -> None:
        self._broken = True
        self.ledger.execute(plan.instructions, opened.payer)
        self.world = plan.world
        self._slot = max(self._slot, slot)
        self.transactions[opened.signature] = (slot, opened.raw)
        self._messages[_message_digest(opened)] = slot
        # A blockhash that is no longer good refuses the old ones.
        for digest in [digest for digest, seen in self._messages.items() if seen <= slot - BLOCKHASH_SLOTS]:
            del self._messages[digest]
        self._broken = False

    def _minting(self, owner: str, amount: int) -> list[Instruction]:
        return [create_token_account(_FAUCET, owner, DEVNET_MINT), self.ledger.mint_to(owner, amount)]

    def _clock_to(self, slot: int) -> None:
        self.ledger.set_time(slot, self.unix_time(slot))


def _message_digest(opened: Opened) -> bytes:
    return hashlib.sha256(opened.raw[1 + 64 * opened.raw[0] :]).digest()
