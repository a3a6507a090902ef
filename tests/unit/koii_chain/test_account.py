from __future__ import annotations

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.account import read_koii, read_kpl, write_kpl
from koii_chain.state import Submission, TaskState
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.tasks import GOLDEN, TASK, tasks


def test_the_golden_account_reads_as_koiis_own_decoder_reads_it() -> None:
    state = read_kpl(GOLDEN, TASK)
    assert len(GOLDEN) == 328
    assert state.task_name == "T"
    assert state.task_manager == base58.b58encode(b"\1" * 32).decode()
    assert state.stake_pot_bump == 250
    assert state.submissions == {7: {"K": Submission(submission_value="V", slot=99, round=7)}}
    assert (state.total_bounty_amount, state.bounty_amount_per_round, state.minimum_stake_amount) == (100, 10, 1)
    assert state.stake_list == {"K": 5}
    assert (state.clock.round_time, state.clock.starting_slot) == (5000, 6)
    assert (state.audit_window, state.submission_window) == (2200, 2200)
    assert state.distributions_audit_record == {6: "PayoutSuccessful"}
    assert (state.task_metadata, state.task_vars, state.allowed_failed_distributions) == ("M", "{}", 3)


def test_the_golden_account_is_written_byte_for_byte() -> None:
    assert write_kpl(read_kpl(GOLDEN, TASK)) == GOLDEN


@given(tasks())
def test_what_is_written_is_read_back(state: TaskState) -> None:
    assert read_kpl(write_kpl(state) + bytes(50), state.task_id) == state


@given(st.integers(0, len(GOLDEN) - 1))
def test_a_cut_off_account_is_refused(length: int) -> None:
    with pytest.raises(InvalidError):
        read_kpl(GOLDEN[:length], TASK)


@given(st.integers(0, len(GOLDEN) - 1), st.integers(1, 255))
def test_a_damaged_account_is_read_or_refused_but_nothing_else(place: int, flip: int) -> None:
    damaged = bytearray(GOLDEN)
    damaged[place] ^= flip
    try:
        state = read_kpl(bytes(damaged), TASK)
    except InvalidError:
        return
    assert isinstance(state, TaskState)


def test_a_tail_that_is_not_padding_is_refused() -> None:
    assert read_kpl(GOLDEN + bytes(1000), TASK).task_name == "T"
    with pytest.raises(InvalidError, match="other than zeros"):
        read_kpl(GOLDEN + b"\0\1", TASK)


def test_a_count_beyond_the_account_is_refused_before_it_is_believed() -> None:
    with pytest.raises(InvalidError, match="cannot be in"):
        read_kpl(b"\1\1" + b"\xff\xff\xff\xff" + GOLDEN[6:], TASK)


@pytest.mark.parametrize("name", [b"07", b"-1", b"x", b"9" * 30])
def test_a_round_has_one_spelling(name: bytes) -> None:
    wrong = GOLDEN.replace(b"\1\0\0\x007", len(name).to_bytes(4, "little") + name, 1)
    assert wrong != GOLDEN
    with pytest.raises(InvalidError, match="no round"):
        read_kpl(wrong, TASK)


KOII = {
    "task_name": "T",
    "task_description": "D",
    "task_manager": [1] * 32,
    "is_allowlisted": True,
    "is_active": True,
    "stake_pot_account": [2] * 32,
    "total_bounty_amount": 100,
    "bounty_amount_per_round": 10,
    "total_stake_amount": 5,
    "minimum_stake_amount": 1,
    "stake_list": {"K": 5},
    "round_time": 5000,
    "starting_slot": 6,
    "audit_window": 2200,
    "submission_window": 2200,
    "submissions": {"7": {"K": {"submission_value": "V", "slot": 99, "round": 7}}},
    "submissions_audit_trigger": {
        "7": {"K": {"trigger_by": "L", "slot": 9, "votes": [{"is_valid": False, "voter": "L", "slot": 9}]}}
    },
    "distribution_rewards_submission": {"6": {"K": {"submission_value": [3] * 32, "slot": 98}}},
    "is_migrated": False,
    "allowed_failed_distributions": 3,
    "something_new": 1,
}


def test_a_koii_account_is_json_with_keys_as_numbers() -> None:
    state = read_koii(canonical(KOII) + bytes(100), TASK)
    assert state.task_manager == base58.b58encode(b"\1" * 32).decode()
    assert state.token_type is None
    assert state.submissions[7]["K"].submission_value == "V"
    assert state.submissions_audit_trigger[7]["K"].votes[0].is_valid is False
    listed = state.distribution_rewards_submission[6]["K"]
    assert (listed.submission_value, listed.round) == (base58.b58encode(b"\3" * 32).decode(), 6)


def test_amounts_of_64_bits_are_read_exactly() -> None:
    data = canonical(KOII).replace(b'"total_bounty_amount":100', b'"total_bounty_amount":18446744073709551615')
    assert read_koii(data, TASK).total_bounty_amount == 2**64 - 1
    with pytest.raises(InvalidError, match="json_number"):
        read_koii(data.replace(b"615", b"616"), TASK)


@pytest.mark.parametrize(
    "change",
    [
        {"is_active": 1},
        {"stake_list": {"K": "5"}},
        {"stake_list": {"K": -1}},
        {"stake_list": []},
        {"submissions": []},
        {"submissions": {"07": {}}},
        {"submissions": {"7": {"K": {"submission_value": "x" * 513, "slot": 1, "round": 7}}}},
        {"submissions": {"7": []}},
        {"task_manager": [1] * 31},
        {"task_manager": [300] * 32},
        {"total_bounty_amount": 1.5},
        {"total_bounty_amount": None},
        {"distribution_rewards_submission": {"6": {"K": 3}}},
        {"submissions_audit_trigger": {"7": {"K": {"trigger_by": "L", "slot": 9, "votes": 3}}}},
    ],
)
def test_a_malformed_koii_account_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        read_koii(canonical(KOII | change), TASK)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"a":1,"a":2}', b"{" * 200, b"\xff"])
def test_what_is_no_task_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidError):
        read_koii(data, TASK)
