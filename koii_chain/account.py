"""Task accounts as bytes: Borsh for tasks paid in tokens (KPL), JSON text for tasks paid in KOII.

Which of the two an account holds is decided by the program that owns it, never by looking at the bytes. Both readers
take a stranger's bytes, padded with zeros at most, and give the same ``TaskState``.
"""

from __future__ import annotations

from typing import Any, get_args

import base58
from pydantic import ValidationError

from koii_chain import borsh
from koii_chain.borsh import BorshReader
from koii_chain.state import MAX_U64, PayoutRecord, Submission, TaskState, Trigger, VoteRecord
from orca_protocol.canonical import parse_json
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError

#: the largest account a task can have on Koii
ACCOUNT_MAX_BYTES = 50 * 1024 * 1024
_RECORDS: tuple[PayoutRecord, ...] = get_args(PayoutRecord)
#: maps keyed by round in the JSON form
_BY_ROUND = (
    "submissions",
    "submissions_audit_trigger",
    "distribution_rewards_submission",
    "distributions_audit_trigger",
    "distributions_audit_record",
)


def read_kpl(data: bytes, task_id: str) -> TaskState:
    """Read a KPL task account. Raises InvalidError ``borsh``, ``json_oversize`` or ``schema``."""
    where = f"the account of task {task_id}"
    if len(data) > ACCOUNT_MAX_BYTES:
        raise InvalidError("borsh", f"{where} has {len(data)} bytes; at most {ACCOUNT_MAX_BYTES} are read")
    read = BorshReader(data, where)
    fields: dict[str, Any] = {
        "task_id": task_id,
        "is_allowlisted": read.boolean(),
        "is_active": read.boolean(),
        "task_name": read.text(),
        "task_description": read.text(),
        "task_manager": read.key(),
        "task_audit_program": read.text(),
        "stake_pot_account": read.key(),
        "stake_pot_seed": read.key(),
        "stake_pot_bump": read.u8(),
        "submissions": read.rounds(lambda: read.map(lambda: _submission(read, read.text))),
        "submissions_audit_trigger": read.rounds(lambda: read.map(lambda: _trigger(read))),
        "total_bounty_amount": read.u64(),
        "bounty_amount_per_round": read.u64(),
        "token_type": read.key(),
        "total_stake_amount": read.u64(),
        "minimum_stake_amount": read.u64(),
        "available_balances": read.map(read.u64),
        "stake_list": read.map(read.u64),
        "ip_address_list": read.map(read.text),
        "round_time": read.u64(),
        "starting_slot": read.u64(),
        "audit_window": read.u64(),
        "submission_window": read.u64(),
        "task_executable_network": read.text(),
        "distribution_rewards_submission": read.rounds(lambda: read.map(lambda: _submission(read, read.key))),
        "distributions_audit_trigger": read.rounds(lambda: read.map(lambda: _trigger(read))),
        "distributions_audit_record": read.rounds(lambda: _record(read)),
        "task_metadata": read.text(),
        "task_vars": read.text(),
        "is_migrated": read.boolean(),
        "migrated_to": read.text(),
        "allowed_failed_distributions": read.u64(),
    }
    read.end()
    return _checked(fields, where)


def write_kpl(task: TaskState) -> bytes:
    """Write a KPL task account, maps in key order. Raises RuntimeError for a task that has no token."""
    if task.token_type is None or task.stake_pot_seed is None or task.stake_pot_bump is None:
        raise RuntimeError("only a task paid in tokens has a KPL account")
    return b"".join(
        [
            bytes([task.is_allowlisted, task.is_active]),
            borsh.text(task.task_name),
            borsh.text(task.task_description),
            borsh.key(task.task_manager),
            borsh.text(task.task_audit_program),
            borsh.key(task.stake_pot_account),
            borsh.key(task.stake_pot_seed),
            bytes([task.stake_pot_bump]),
            borsh.rounds(task.submissions, lambda by_key: borsh.mapping(by_key, _write_submission)),
            borsh.rounds(task.submissions_audit_trigger, lambda by_key: borsh.mapping(by_key, _write_trigger)),
            borsh.u64(task.total_bounty_amount),
            borsh.u64(task.bounty_amount_per_round),
            borsh.key(task.token_type),
            borsh.u64(task.total_stake_amount),
            borsh.u64(task.minimum_stake_amount),
            borsh.mapping(task.available_balances, borsh.u64),
            borsh.mapping(task.stake_list, borsh.u64),
            borsh.mapping(task.ip_address_list, borsh.text),
            borsh.u64(task.round_time),
            borsh.u64(task.starting_slot),
            borsh.u64(task.audit_window),
            borsh.u64(task.submission_window),
            borsh.text(task.task_executable_network),
            borsh.rounds(task.distribution_rewards_submission, lambda by_key: borsh.mapping(by_key, _write_list)),
            borsh.rounds(task.distributions_audit_trigger, lambda by_key: borsh.mapping(by_key, _write_trigger)),
            borsh.rounds(task.distributions_audit_record, lambda record: bytes([_RECORDS.index(record)])),
            borsh.text(task.task_metadata),
            borsh.text(task.task_vars),
            bytes([task.is_migrated]),
            borsh.text(task.migrated_to),
            borsh.u64(task.allowed_failed_distributions),
        ]
    )


def read_koii(data: bytes, task_id: str) -> TaskState:
    """Read a KOII task account: JSON text, keys as base58 or 32 numbers. Raises InvalidError as ``parse_json``, or ``schema``."""
    where = f"the account of task {task_id}"
    document = parse_json(data.rstrip(b"\0"), max_bytes=ACCOUNT_MAX_BYTES, where=where, max_integer=MAX_U64)
    if not isinstance(document, dict):
        raise InvalidError("schema", f"{where} is not an object")
    fields = document | {"task_id": task_id}
    for name in ("task_manager", "stake_pot_account"):
        fields[name] = _key(fields.get(name), f"{where}: {name}")
    reader = BorshReader(b"", where)
    for name in _BY_ROUND:
        by_round = fields.get(name, {})
        if not isinstance(by_round, dict):
            raise InvalidError("schema", f"{where}: {name} is not an object")
        fields[name] = {reader.round(number): value for number, value in by_round.items()}
    _complete_lists(fields["distribution_rewards_submission"], where)
    _tuples(fields["submissions_audit_trigger"])
    _tuples(fields["distributions_audit_trigger"])
    return _checked(fields, where)


def _key(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 32 and all(type(byte) is int and 0 <= byte <= 255 for byte in value):
        return base58.b58encode(bytes(value)).decode()
    raise InvalidError("schema", f"{where} is neither base58 nor 32 bytes")


def _complete_lists(by_round: dict[int, Any], where: str) -> None:
    """Lists name their account as 32 numbers, and older ones lack the round, which their place tells anyway."""
    for number, by_key in by_round.items():
        for entry in by_key.values() if isinstance(by_key, dict) else ():
            if isinstance(entry, dict):
                entry.setdefault("round", number)
                entry["submission_value"] = _key(entry.get("submission_value"), f"{where}: list of round {number}")


def _tuples(by_round: dict[int, Any]) -> None:
    for by_key in by_round.values():
        for entry in by_key.values() if isinstance(by_key, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("votes"), list):
                entry["votes"] = tuple(entry["votes"])


def _checked(fields: dict[str, Any], where: str) -> TaskState:
    try:
        return TaskState.model_validate(fields)
    except ValidationError as error:
        raise InvalidError("schema", f"{where}: {describe(error)}") from error


def _submission(read: BorshReader, value: Any) -> dict[str, Any]:
    return {"submission_value": value(), "slot": read.u64(), "round": read.u64()}


def _trigger(read: BorshReader) -> dict[str, Any]:
    return {"trigger_by": read.key(), "slot": read.u64(), "votes": read.list(lambda: _vote(read))}


def _vote(read: BorshReader) -> dict[str, Any]:
    return {"is_valid": read.boolean(), "voter": read.key(), "slot": read.u64()}


def _record(read: BorshReader) -> PayoutRecord:
    number = read.u8()
    if number >= len(_RECORDS):
        raise read.wrong(f"{number} is no payout record")
    return _RECORDS[number]


def _write_submission(entry: Submission) -> bytes:
    return borsh.text(entry.submission_value) + borsh.u64(entry.slot) + borsh.u64(entry.round)


def _write_list(entry: Submission) -> bytes:
    return borsh.key(entry.submission_value) + borsh.u64(entry.slot) + borsh.u64(entry.round)


def _write_trigger(trigger: Trigger) -> bytes:
    return borsh.key(trigger.trigger_by) + borsh.u64(trigger.slot) + borsh.sequence(trigger.votes, _write_vote)


def _write_vote(vote: VoteRecord) -> bytes:
    return bytes([vote.is_valid]) + borsh.key(vote.voter) + borsh.u64(vote.slot)
