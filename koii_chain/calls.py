"""Instructions with their accounts: what a node, a requester or a task manager puts into a transaction.

The order of accounts is Koii's. Where Koii's own is not public (CreateTask and Withdraw of the KPL program, SetActive) the order
is ours and stands in this file alone: the devnet reads it from here.
"""

from __future__ import annotations

from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer

from koii_chain.addresses import (
    ATA_PROGRAM,
    CLOCK_SYSVAR,
    KPL_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    pot_authority,
    pot_seed,
    pubkey,
    token_account,
)
from koii_chain.clock import RoundClock
from koii_chain.instructions import (
    AuditDistribution,
    AuditSubmission,
    Call,
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
    encode,
)
from koii_chain.state import TaskState

#: a staking account as Koii's nodes make it: rent for 1000 bytes and a little
STAKING_ACCOUNT_BYTES: Final = 100
STAKING_ACCOUNT_LAMPORTS: Final = (128 + 1000) * 3480 * 2 + 10_000
TOKEN_DECIMALS: Final = 6

_CLOCK: Final = (CLOCK_SYSVAR, "")
_TOKEN: Final = (TOKEN_PROGRAM, "")


def create_task(
    task: str,
    manager: str,
    pot: str,
    mint: str,
    *,
    name: str,
    clock: RoundClock,
    minimum_stake: int,
    bounty_per_round: int,
    total_bounty: int = 0,
    allowed_failed_distributions: int = 3,
    description: str = "",
    metadata: str = "",
    task_vars: str = "",
) -> Instruction:
    """Create ``task`` with a pot of its own; their keys sign this once and never again. It starts at the slot of its creation."""
    call = CreateTask(
        name=name,
        description=description,
        audit_program="",
        network="IPFS",
        total_bounty=total_bounty,
        bounty_per_round=bounty_per_round,
        round_time=clock.round_time,
        audit_window=clock.audit_window,
        submission_window=clock.submission_window,
        minimum_stake=minimum_stake,
        metadata=metadata,
        local_vars=task_vars,
        allowed_failed_distributions=allowed_failed_distributions,
        pot_seed=pot_seed(pot),
    )
    accounts = [(task, "sw"), (manager, "sw"), (token_account(manager, mint), "w"), (pot, "sw"), (pot_authority(pot)[0], "")]
    return _call(call, *accounts, (mint, ""), _TOKEN, (SYSTEM_PROGRAM, ""), _CLOCK)


def fund_task(task: TaskState, funder: str, amount: int) -> Instruction:
    """Add to the bounty from the funder's token account."""
    return _call(
        FundTask(amount), (task.task_id, "w"), (funder, "s"), _tokens_of(funder, task), (task.stake_pot_account, "w"), _TOKEN
    )


def stake(task: TaskState, staker: str, amount: int, *, address: str = "") -> Instruction:
    """Add to the stake of ``staker``, from its token account."""
    accounts = [(task.task_id, "w"), (staker, "sw"), _tokens_of(staker, task), (task.stake_pot_account, "w")]
    return _call(Stake(amount, address), *accounts, _TOKEN)


def submit(task_id: str, submitter: str, value: str, number: int) -> Instruction:
    """Put a submission for a round on chain."""
    return _call(SubmitTask(value, number), (task_id, "w"), (submitter, "sw"), _CLOCK)


def audit_submission(task_id: str, voter: str, candidate: str, number: int, *, is_valid: bool) -> Instruction:
    """Vote on a submission."""
    return _call(AuditSubmission(is_valid, number), (task_id, "w"), (voter, "sw"), (candidate, ""), _CLOCK)


def audit_distribution(task_id: str, voter: str, candidate: str, number: int, *, is_valid: bool) -> Instruction:
    """Vote on a distribution list."""
    return _call(AuditDistribution(is_valid, number), (task_id, "w"), (voter, "sw"), (candidate, ""), _CLOCK)


def upload_list(task_id: str, submitter: str, chunk: int, data: bytes, number: int) -> Instruction:
    """Upload one piece of a distribution list."""
    return _call(UploadDistributionList(chunk, data, number), (task_id, ""), (submitter, "sw"))


def submit_list(task_id: str, submitter: str, number: int) -> Instruction:
    """Submit the uploaded list; it lies in the submitter's staking account."""
    return _call(SubmitDistributionList(number), (task_id, "w"), (submitter, "s"), (submitter, ""), _CLOCK)


def payout(task_id: str, list_account: str, number: int) -> Instruction:
    """Have a list paid. Anybody may ask."""
    return _call(Payout(number), (task_id, "w"), _CLOCK, (list_account, ""))


def claim_reward(task: TaskState, claimer: str, *, beneficiary: str) -> Instruction:
    """Move what was credited to ``claimer`` to the token account of ``beneficiary``."""
    pot = task.stake_pot_account
    accounts = [(task.task_id, "w"), (claimer, "sw"), (pot, "w"), _tokens_of(beneficiary, task), (pot_authority(pot)[0], "")]
    return _call(ClaimReward(), *accounts, _TOKEN)


def withdraw(task: TaskState, staker: str) -> Instruction:
    """Take the stake back to the staker's token account."""
    pot = task.stake_pot_account
    accounts = [(task.task_id, "w"), (staker, "sw"), (pot, "w"), _tokens_of(staker, task), (pot_authority(pot)[0], "")]
    return _call(Withdraw(), *accounts, _TOKEN)


def set_active(task_id: str, manager: str, *, is_active: bool) -> Instruction:
    """Open or close a task."""
    return _call(SetActive(is_active), (task_id, "w"), (manager, "s"))


def create_staking_account(payer: str, staking: str) -> Instruction:
    """Make a staking key an account of the task program, which a key needs before it can stake."""
    return create_account(
        CreateAccountParams(
            from_pubkey=pubkey(payer),
            to_pubkey=pubkey(staking),
            lamports=STAKING_ACCOUNT_LAMPORTS,
            space=STAKING_ACCOUNT_BYTES,
            owner=pubkey(KPL_PROGRAM),
        )
    )


def create_token_account(payer: str, owner: str, mint: str) -> Instruction:
    """Make the token account of ``owner``, unless it exists."""
    accounts = [(payer, "sw"), (token_account(owner, mint), "w"), (owner, ""), (mint, ""), (SYSTEM_PROGRAM, ""), _TOKEN]
    return _instruction(ATA_PROGRAM, b"\1", accounts)


def transfer_tokens(owner: str, to: str, mint: str, amount: int, *, decimals: int = TOKEN_DECIMALS) -> Instruction:
    """Move tokens between the token accounts of two owners (TransferChecked)."""
    accounts = [(token_account(owner, mint), "w"), (mint, ""), (token_account(to, mint), "w"), (owner, "s")]
    return _instruction(TOKEN_PROGRAM, b"\x0c" + amount.to_bytes(8, "little") + bytes([decimals]), accounts)


def memo(signer: str, text: str) -> Instruction:
    """Write a text into the transaction, for all to see; it also makes two equal payments two transactions."""
    return _instruction(MEMO_PROGRAM, text.encode(), [(signer, "s")])


def transfer_lamports(payer: str, to: str, amount: int) -> Instruction:
    """Move KOII, in ROE."""
    return transfer(TransferParams(from_pubkey=pubkey(payer), to_pubkey=pubkey(to), lamports=amount))


def _tokens_of(owner: str, task: TaskState) -> tuple[str, str]:
    if task.token_type is None:
        raise RuntimeError(f"task {task.task_id} is not paid in tokens")
    return token_account(owner, task.token_type), "w"


def _call(call: Call, *accounts: tuple[str, str]) -> Instruction:
    return _instruction(KPL_PROGRAM, encode(call), list(accounts))


def _instruction(program: str, data: bytes, accounts: list[tuple[str, str]]) -> Instruction:
    metas = [AccountMeta(pubkey(key), is_signer="s" in flags, is_writable="w" in flags) for key, flags in accounts]
    return Instruction(pubkey(program), data, metas)
