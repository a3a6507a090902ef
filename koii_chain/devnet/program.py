"""The task program of the devnet: tasks, money and stakes. What belongs to rounds is in ``rounds``.

An instruction becomes two things: another world, and token movements that the ledger makes. Both happen or none; a refusal
is an InvalidError with a code. At all times the pot holds the bounty, the stakes and the unclaimed rewards.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import base58
from solders.instruction import AccountMeta, Instruction
from solders.system_program import CreateAccountParams, create_account

from koii_chain.addresses import KPL_PROGRAM, TOKEN_PROGRAM, pot_authority, pot_seed, pubkey, token_account
from koii_chain.clock import RoundClock
from koii_chain.instructions import ClaimReward, CreateTask, FundTask, SetActive, Stake, Withdraw
from koii_chain.lists import Amounts
from koii_chain.stake import task_standing
from koii_chain.state import MAX_U64, TaskState
from orca_protocol.errors import InvalidError

T = TypeVar("T")

#: rounds without a submission after which a stake can be taken back
IDLE_ROUNDS: Final = 3
#: a task keeps as many rounds as its lists may fail, so there is a bound
MAX_FAILED_DISTRIBUTIONS: Final = 64
_TOKEN_ACCOUNT_BYTES: Final = 165


@dataclass(frozen=True)
class Upload:
    """A list on its way: the pieces that came so far."""

    task_id: str
    round: int
    pieces: int
    data: bytes


@dataclass(frozen=True)
class World:
    """What the task program knows. Nothing in it is ever changed in place."""

    tasks: dict[str, TaskState] = field(default_factory=dict)
    #: by staking account: round → task → amounts
    lists: dict[str, dict[int, dict[str, Amounts]]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def with_task(self, task: TaskState) -> World:
        """Return the world with another state of one task."""
        return replace(self, tasks=self.tasks | {task.task_id: task})


@dataclass(frozen=True)
class Call:
    """Who calls: the slot, the accounts named, and which of them signed."""

    slot: int
    accounts: tuple[str, ...]
    signers: frozenset[str]

    def account(self, place: int) -> str:
        """Return an account by its place. Raises InvalidError ``accounts``."""
        if place >= len(self.accounts):
            raise InvalidError("accounts", f"the instruction names {len(self.accounts)} accounts; number {place} is missing")
        return self.accounts[place]

    def signer(self, place: int) -> str:
        """Return an account that signed. Raises InvalidError ``missing_signature``."""
        key = self.account(place)
        if key not in self.signers:
            raise InvalidError("missing_signature", f"{key} did not sign")
        return key

    def expect(self, place: int, key: str, what: str) -> None:
        """Require a certain account. Raises InvalidError ``accounts``."""
        if self.account(place) != key:
            raise InvalidError("accounts", f"account {place} must be {what}, {key}")


@dataclass(frozen=True)
class Effect:
    """What an instruction does: the next world, what the ledger is to do, and who must own which account afterwards."""

    world: World
    moves: tuple[Instruction, ...] = ()
    owners: tuple[tuple[str, str], ...] = ()


def create(world: World, call: Call, args: CreateTask, rents: tuple[int, int]) -> Effect:
    """Create a task with its pot; ``rents`` are those of an empty account and of a token account.

    The devnet allow-lists every task at once, which on Koii its operators do.
    """
    task_id, manager, pot, mint = call.signer(0), call.signer(1), call.signer(3), call.account(5)
    authority, bump = pot_authority(pot)
    call.expect(2, token_account(manager, mint), "the manager's token account")
    call.expect(4, authority, "the pot's authority")
    if args.pot_seed != pot_seed(pot):
        raise InvalidError("accounts", "the seed is not this pot's")
    if task_id in world.tasks:
        raise InvalidError("task_exists", f"there is a task {task_id} already")
    RoundClock(call.slot, args.round_time, args.submission_window, args.audit_window)
    if not args.name or args.minimum_stake < 1 or args.bounty_per_round < 1:
        raise InvalidError("task_terms", "a task has a name, a minimum stake and a bounty per round of at least 1")
    if args.allowed_failed_distributions > MAX_FAILED_DISTRIBUTIONS:
        raise InvalidError("task_terms", f"a list may fail {MAX_FAILED_DISTRIBUTIONS} times at most")
    task = TaskState(
        task_id=task_id,
        task_name=args.name,
        task_description=args.description,
        task_manager=manager,
        is_allowlisted=True,
        is_active=True,
        task_audit_program=args.audit_program,
        stake_pot_account=pot,
        stake_pot_seed=base58.b58encode(args.pot_seed).decode(),
        stake_pot_bump=bump,
        token_type=mint,
        total_bounty_amount=args.total_bounty,
        bounty_amount_per_round=args.bounty_per_round,
        total_stake_amount=0,
        minimum_stake_amount=args.minimum_stake,
        round_time=args.round_time,
        starting_slot=call.slot,
        audit_window=args.audit_window,
        submission_window=args.submission_window,
        task_executable_network=args.network,
        task_metadata=args.metadata,
        task_vars=args.local_vars,
        is_migrated=False,
        allowed_failed_distributions=args.allowed_failed_distributions,
    )
    empty, tokens = rents
    moves = [
        _new_account(manager, task_id, empty, 0, KPL_PROGRAM),
        _new_account(manager, pot, tokens, _TOKEN_ACCOUNT_BYTES, TOKEN_PROGRAM),
        Instruction(
            pubkey(TOKEN_PROGRAM),
            b"\x12" + bytes(pubkey(authority)),  # InitializeAccount3
            [
                AccountMeta(pubkey(pot), is_signer=False, is_writable=True),
                AccountMeta(pubkey(mint), is_signer=False, is_writable=False),
            ],
        ),
    ]
    if args.total_bounty:
        moves.append(_move(call.account(2), pot, manager, args.total_bounty))
    return Effect(world.with_task(task), tuple(moves))


def fund(world: World, call: Call, args: FundTask) -> Effect:
    """Move tokens of the funder into the pot, as bounty."""
    task, funder = task_at(world, call), call.signer(1)
    _money(call, task, funder, tokens=2, pot=3)
    total = _sum(task.total_bounty_amount, _positive(args.amount))
    moved = _move(call.account(2), task.stake_pot_account, funder, args.amount)
    return Effect(world.with_task(task.model_copy(update={"total_bounty_amount": total})), (moved,))


def stake(world: World, call: Call, args: Stake) -> Effect:
    """Move tokens of a staking key into the pot, as its stake. Its account must belong to the task program."""
    task, staker = task_at(world, call), call.signer(1)
    task_standing(task).required()
    _money(call, task, staker, tokens=2, pot=3)
    amount = _sum(task.stake_list.get(staker, 0), _positive(args.amount))
    if amount < task.minimum_stake_amount:
        raise InvalidError("stake_below_minimum", f"a stake of {amount} is below the task's minimum, {task.minimum_stake_amount}")
    staked = task.model_copy(
        update={
            "stake_list": task.stake_list | {staker: amount},
            "total_stake_amount": _sum(task.total_stake_amount, args.amount),
            "ip_address_list": task.ip_address_list | {staker: args.address},
        }
    )
    moved = _move(call.account(2), task.stake_pot_account, staker, args.amount)
    return Effect(world.with_task(staked), (moved,), ((staker, KPL_PROGRAM),))


def withdraw(world: World, call: Call, _args: Withdraw) -> Effect:
    """Give a stake back, once its key submitted nothing for some rounds: until then it can still be cut."""
    task, staker = task_at(world, call), call.signer(1)
    _pot_pays(call, task, staker)
    amount = task.stake_list.get(staker, 0)
    if amount == 0:
        raise InvalidError("not_staked", f"{staker} has no stake on this task")
    last = max((number for number, by_key in task.submissions.items() if staker in by_key), default=None)
    current = task.clock.round_at(call.slot)
    if last is not None and current - last <= IDLE_ROUNDS:
        raise InvalidError(
            "stake_in_use", f"{staker} submitted for round {last}; its stake is free in round {last + IDLE_ROUNDS + 1}"
        )
    left = task.model_copy(
        update={
            "stake_list": without(task.stake_list, staker),
            "ip_address_list": without(task.ip_address_list, staker),
            "total_stake_amount": task.total_stake_amount - amount,
        }
    )
    return Effect(world.with_task(left), (_from_pot(task, call.account(3), amount),))


def claim(world: World, call: Call, _args: ClaimReward) -> Effect:
    """Move what was credited to the claimer to the token account it names."""
    task, claimer = task_at(world, call), call.signer(1)
    _pot_pays(call, task, None)
    amount = task.available_balances.get(claimer, 0)
    if amount == 0:
        raise InvalidError("nothing_to_claim", f"nothing is credited to {claimer}")
    if call.account(3) == task.stake_pot_account:
        raise InvalidError("accounts", "the pot cannot be paid from itself")
    claimed = task.model_copy(update={"available_balances": without(task.available_balances, claimer)})
    return Effect(world.with_task(claimed), (_from_pot(task, call.account(3), amount),))


def set_active(world: World, call: Call, args: SetActive) -> Effect:
    """Open or close a task, by its manager."""
    task = task_at(world, call)
    if call.signer(1) != task.task_manager:
        raise InvalidError("not_the_manager", f"only {task.task_manager} may open or close this task")
    return Effect(world.with_task(task.model_copy(update={"is_active": args.is_active})))


def task_at(world: World, call: Call) -> TaskState:
    """Return the task that an instruction names first. Raises InvalidError ``task_unknown``."""
    task = world.tasks.get(call.account(0))
    if task is None:
        raise InvalidError("task_unknown", f"there is no task {call.account(0)}")
    return task


def without(amounts: dict[str, T], key: str) -> dict[str, T]:
    """Return a map without one key."""
    return {name: value for name, value in amounts.items() if name != key}


def _money(call: Call, task: TaskState, owner: str, *, tokens: int, pot: int) -> None:
    call.expect(tokens, token_account(owner, _mint(task)), "the payer's token account")
    call.expect(pot, task.stake_pot_account, "the task's pot")


def _pot_pays(call: Call, task: TaskState, owner: str | None) -> None:
    call.expect(2, task.stake_pot_account, "the task's pot")
    if owner is not None:
        call.expect(3, token_account(owner, _mint(task)), "the owner's token account")
    call.expect(4, pot_authority(task.stake_pot_account)[0], "the pot's authority")


def _mint(task: TaskState) -> str:
    if task.token_type is None:
        raise RuntimeError(f"task {task.task_id} of this devnet has no token")
    return task.token_type


def _positive(amount: int) -> int:
    if amount < 1:
        raise InvalidError("amount", "an amount is at least 1")
    return amount


def _sum(held: int, added: int) -> int:
    if held + added > MAX_U64:
        raise InvalidError("amount", "the sum does not fit 64 bits")
    return held + added


def _new_account(payer: str, key: str, lamports: int, space: int, owner: str) -> Instruction:
    return create_account(
        CreateAccountParams(from_pubkey=pubkey(payer), to_pubkey=pubkey(key), lamports=lamports, space=space, owner=pubkey(owner))
    )


def _from_pot(task: TaskState, to: str, amount: int) -> Instruction:
    return _move(task.stake_pot_account, to, pot_authority(task.stake_pot_account)[0], amount)


def _move(source: str, to: str, authority: str, amount: int) -> Instruction:
    """SPL Transfer, which finds the mint by the accounts."""
    metas = [
        AccountMeta(pubkey(source), is_signer=False, is_writable=True),
        AccountMeta(pubkey(to), is_signer=False, is_writable=True),
        AccountMeta(pubkey(authority), is_signer=True, is_writable=False),
    ]
    return Instruction(pubkey(TOKEN_PROGRAM), b"\3" + amount.to_bytes(8, "little"), metas)
