"""A devnet in this process with people on it: a requester who is also the task's manager, and nodes that stake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey
from solders.instruction import Instruction

from koii_chain import calls
from koii_chain.addresses import token_account
from koii_chain.clock import RoundClock
from koii_chain.devnet.chain import DEVNET_MINT, Chain
from koii_chain.instructions import CHUNK_BYTES
from koii_chain.lists import write_lists
from koii_chain.state import TaskState
from koii_chain.transaction import build
from orca_protocol.keys import devnet_key, public_key_of

ROUND = RoundClock(starting_slot=0, round_time=100, submission_window=40, audit_window=40)
STAKE = 1_000_000
BOUNTY = 5_000_000


class Person:
    """A main key that pays fees, and a staking key."""

    def __init__(self, number: int) -> None:
        self.main, self.staking = devnet_key(2 * number), devnet_key(2 * number + 1)
        self.main_key, self.key = public_key_of(self.main), public_key_of(self.staking)


class Devnet:
    """Three nodes with a stake on one task that the requester created and funded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = Chain(folder, wall=lambda: 1_800_000_000.0)
        self.requester = Person(0)
        self.nodes = [Person(number) for number in (1, 2, 3)]
        self.task_key, self.pot_key = devnet_key(60), devnet_key(61)
        self.task_id, self.pot = public_key_of(self.task_key), public_key_of(self.pot_key)

    @property
    def task(self) -> TaskState:
        return self.chain.world.tasks[self.task_id]

    def send(self, instructions: Sequence[Instruction], *keys: SigningKey) -> str:
        return self.chain.submit(self.signed(instructions, *keys))

    def signed(self, instructions: Sequence[Instruction], *keys: SigningKey) -> bytes:
        return build(instructions, keys, self.chain.blockhash(self.chain.slot()))

    def start(self, *, funded: int = 20_000_000) -> Devnet:
        """Give out what is needed, create the task, fund it, and have every node stake."""
        self.give(self.requester)
        self.chain.mint(self.requester.main_key, 100_000_000)
        self.create()
        self.send([calls.fund_task(self.task, self.requester.main_key, funded)], self.requester.main)
        for node in self.nodes:
            self.give(node)
            self.chain.mint(node.key, 2 * STAKE)
            self.join(node)
        return self

    def give(self, person: Person) -> None:
        self.chain.airdrop(person.main_key, 10**10)

    def create(self) -> None:
        create = calls.create_task(
            self.task_id,
            self.requester.main_key,
            self.pot,
            DEVNET_MINT,
            name="swarms",
            clock=ROUND,
            minimum_stake=STAKE,
            bounty_per_round=BOUNTY,
        )
        self.send([create], self.requester.main, self.task_key, self.pot_key)

    def join(self, node: Person, amount: int = STAKE) -> None:
        create = calls.create_staking_account(node.main_key, node.key)
        self.send([create, calls.stake(self.task, node.key, amount)], node.main, node.staking)

    def submit(self, node: Person, number: int, value: str = "bafyproof") -> str:
        return self.send([calls.submit(self.task_id, node.key, value, number)], node.main, node.staking)

    def vote(self, node: Person, candidate: Person, number: int, *, is_valid: bool) -> str:
        vote = calls.audit_submission(self.task_id, node.key, candidate.key, number, is_valid=is_valid)
        return self.send([vote], node.main, node.staking)

    def vote_on_list(self, node: Person, candidate: Person, number: int, *, is_valid: bool) -> str:
        vote = calls.audit_distribution(self.task_id, node.key, candidate.key, number, is_valid=is_valid)
        return self.send([vote], node.main, node.staking)

    def list(self, node: Person, number: int, amounts: dict[str, int]) -> str:
        data = write_lists({number: {self.task_id: amounts}})
        for place in range(0, len(data), CHUNK_BYTES):
            piece = calls.upload_list(self.task_id, node.key, place // CHUNK_BYTES, data[place : place + CHUNK_BYTES], number)
            self.send([piece], node.main, node.staking)
        return self.send([calls.submit_list(self.task_id, node.key, number)], node.main, node.staking)

    def payout(self, node: Person, number: int) -> str:
        return self.send([calls.payout(self.task_id, node.key, number)], self.requester.main)

    def claim(self, node: Person) -> str:
        return self.send([calls.claim_reward(self.task, node.key, beneficiary=node.key)], node.main, node.staking)

    def withdraw(self, node: Person) -> str:
        return self.send([calls.withdraw(self.task, node.key)], node.main, node.staking)

    def to(self, slot: int) -> None:
        """Wind the clock to a slot, counted from the task's start."""
        self.chain.advance(self.task.starting_slot + slot - self.chain.slot())

    def tokens(self, owner: str) -> int:
        held = self.chain.ledger.tokens(token_account(owner, DEVNET_MINT))
        return 0 if held is None else held.amount

    def in_pot(self) -> int:
        held = self.chain.ledger.tokens(self.pot)
        assert held is not None
        return int(held.amount)

    def is_sound(self) -> bool:
        """Whether the pot holds exactly what the task owes."""
        task = self.task
        return (
            self.in_pot() == task.total_bounty_amount + sum(task.stake_list.values()) + sum(task.available_balances.values())
            and sum(task.stake_list.values()) == task.total_stake_amount
        )

    def reopened(self) -> Devnet:
        """The same devnet from its log."""
        self.chain.close()
        self.chain = Chain(self.folder, wall=lambda: 1_800_000_000.0)
        return self
