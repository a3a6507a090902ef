"""From a verified transaction to what it would do: the task program's next world, and every movement of the ledger, rehearsed.

The instructions of a transaction see each other's effects on the task program; the ledger does all its movements at once, last.
So either everything happens or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.instruction import Instruction

from koii_chain.addresses import ATA_PROGRAM, KPL_PROGRAM, MEMO_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM, pot_authority
from koii_chain.devnet import program, rounds
from koii_chain.devnet.ledger import Ledger, native
from koii_chain.devnet.program import Call, Effect, World
from koii_chain.instructions import (
    AuditDistribution,
    AuditSubmission,
    ClaimReward,
    CreateTask,
    FundTask,
    Payout,
    SetActive,
    Stake,
    SubmitDistributionList,
    SubmitTask,
    UploadDistributionList,
    Withdraw,
    decode,
)
from koii_chain.transaction import Opened
from orca_protocol.errors import InvalidError

#: programs whose instructions are handed to the ledger as they are
NATIVE: Final = frozenset({SYSTEM_PROGRAM, TOKEN_PROGRAM, ATA_PROGRAM, MEMO_PROGRAM})


@dataclass(frozen=True)
class Plan:
    """What a transaction does."""

    world: World
    instructions: tuple[Instruction, ...]


def planned(ledger: Ledger, world: World, opened: Opened, slot: int) -> Plan:
    """Return what a transaction does; the ledger rehearsed it and will not refuse it. Raises InvalidError with the reason."""
    instructions: list[Instruction] = []
    owners: list[tuple[str, str]] = []
    for step in opened.steps:
        if step.program == KPL_PROGRAM:
            effect = _called(ledger, world, Call(slot, step.accounts, opened.signers), step.data)
            world = effect.world
            instructions += effect.moves
            owners += effect.owners
        elif step.program in NATIVE:
            instructions.append(native(step, opened.signers, opened.writable))
        else:
            raise InvalidError("program_unknown", f"the devnet does not run the program {step.program}")
    _refuse_borrowed_rights(opened, world)
    after = ledger.rehearse(instructions, opened.payer)
    for key, owner in owners:
        account = after.get(key) or ledger.account(key)
        if account is None or str(account.owner) != owner:
            raise InvalidError("not_a_staking_account", f"{key} is not an account of the task program; create it first")
    return Plan(world, tuple(instructions))


def _called(ledger: Ledger, world: World, call: Call, data: bytes) -> Effect:
    match decode(data):
        case CreateTask() as args:
            return program.create(world, call, args, (ledger.rent(0), ledger.rent(165)))
        case FundTask() as args:
            return program.fund(world, call, args)
        case Stake() as args:
            return program.stake(world, call, args)
        case Withdraw() as args:
            return program.withdraw(world, call, args)
        case ClaimReward() as args:
            return program.claim(world, call, args)
        case SetActive() as args:
            return program.set_active(world, call, args)
        case SubmitTask() as args:
            return rounds.submit(world, call, args)
        case AuditSubmission() as args:
            return rounds.audit_submission(world, call, args)
        case UploadDistributionList() as args:
            return rounds.upload(world, call, args)
        case SubmitDistributionList() as args:
            return rounds.submit_list(world, call, args)
        case AuditDistribution() as args:
            return rounds.audit_distribution(world, call, args)
        case Payout() as args:
            return rounds.payout(world, call, args)


def _refuse_borrowed_rights(opened: Opened, world: World) -> None:
    """Nobody's own instruction may name a pot's authority.

    The program makes it sign in the same transaction, and a signature counts for all instructions of a transaction.
    """
    named: set[str] = {key for step in opened.steps if step.program != KPL_PROGRAM for key in step.accounts}
    authorities = {pot_authority(task.stake_pot_account)[0] for task in world.tasks.values()}
    borrowed = sorted(authorities.intersection(named))
    if borrowed:
        raise InvalidError("pot_authority", f"only the task program may use {borrowed[0]}")
