from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.addresses import KPL_PROGRAM, pot_authority, token_account
from koii_chain.calls import claim_reward, create_task, fund_task, payout, stake, submit, submit_list
from koii_chain.instructions import (
    MAX_I64,
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
    decode,
    encode,
)
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.tasks import MINT, POT, key, task

_INTEGERS = st.integers(0, MAX_I64)


def _texts(size: int) -> st.SearchStrategy[str]:
    return st.text(max_size=size // 4).filter(lambda text: not text.endswith(" "))


CALLS: st.SearchStrategy[Call] = st.one_of(
    st.builds(
        CreateTask,
        name=_texts(24),
        description=_texts(64),
        audit_program=_texts(64),
        network=_texts(64),
        total_bounty=_INTEGERS,
        bounty_per_round=_INTEGERS,
        round_time=_INTEGERS,
        audit_window=_INTEGERS,
        submission_window=_INTEGERS,
        minimum_stake=_INTEGERS,
        metadata=_texts(64),
        local_vars=_texts(64),
        allowed_failed_distributions=_INTEGERS,
        pot_seed=st.binary(min_size=32, max_size=32),
    ),
    st.builds(SubmitTask, value=_texts(512), round=_INTEGERS),
    st.builds(AuditSubmission, is_valid=st.booleans(), round=_INTEGERS),
    st.builds(AuditDistribution, is_valid=st.booleans(), round=_INTEGERS),
    st.builds(Payout, round=_INTEGERS),
    st.builds(SetActive, is_active=st.booleans()),
    st.just(ClaimReward()),
    st.builds(FundTask, amount=_INTEGERS),
    st.builds(Stake, amount=_INTEGERS, address=_texts(64)),
    st.just(Withdraw()),
    st.builds(UploadDistributionList, chunk=st.integers(0, 2**32 - 1), data=st.binary(min_size=508, max_size=508), round=_INTEGERS),
    st.builds(SubmitDistributionList, round=_INTEGERS),
)


@given(CALLS)
def test_an_instruction_is_read_as_it_was_written(call: Call) -> None:
    assert decode(encode(call)) == call


@given(CALLS)
def test_another_length_is_refused(call: Call) -> None:
    data = encode(call)
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(InvalidError, match="instruction"):
            decode(wrong)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_exactly_or_refused(data: bytes) -> None:
    try:
        call = decode(data)
    except InvalidError as error:
        assert error.code == "instruction"
        return
    assert encode(call) == data


def test_a_submission_is_512_bytes_padded_with_blanks_and_a_round() -> None:
    data = encode(SubmitTask("bafyCID", 3))
    assert data == b"\x01" + b"bafyCID".ljust(512, b" ") + b"\x03" + bytes(7)


def test_other_layouts_are_koiis() -> None:
    assert encode(AuditSubmission(is_valid=True, round=2)) == b"\x02\x01" + b"\x02" + bytes(7)
    assert encode(Stake(5, "")) == b"\x09\x05" + bytes(7) + b" " * 64
    assert encode(ClaimReward()) == b"\x07"
    assert encode(FundTask(256)) == b"\x08\x00\x01" + bytes(6)
    assert len(encode(UploadDistributionList(0, b"x", 7))) == 1 + 4 + 508 + 8


@pytest.mark.parametrize(
    "wrong",
    [
        SubmitTask("x" * 513, 1),
        SubmitTask("blank ", 1),
        SubmitTask("x", -1),
        FundTask(2**63),
        UploadDistributionList(0, b"x" * 509, 1),
    ],
)
def test_what_does_not_fit_is_refused(wrong: Call) -> None:
    with pytest.raises(InvalidError, match="instruction"):
        encode(wrong)


def test_a_negative_amount_is_refused() -> None:
    with pytest.raises(InvalidError, match="negative"):
        decode(b"\x08" + (-5).to_bytes(8, "little", signed=True))


@pytest.mark.parametrize(
    ("mint", "account"),
    [
        ("74SBV4zDXxTRgv1pEMoECskKBkZHc2yGPnc7GYVepump", "6DhcotTqSETBXGhBAGrWPqRM51yW89hVDofjjbeabXhf"),
        ("4qayyw53kWz6GzypcejjT1cvwMXS1qYLSMQRE8se3gTv", "CmYj2MPGq1rjSgUbGUEZ7sKWHEsMZs45ATMcTrWoUb3z"),
    ],
)
def test_a_token_account_has_the_address_that_others_give_it(mint: str, account: str) -> None:
    assert token_account("FAe4sisG95oZ42w7buUn5qEE4TAnfTTFPiguZUHmhiF", mint) == account


def test_accounts_stand_in_koiis_order() -> None:
    state, worker = task(), key(1)
    tokens, pot = token_account(worker, MINT), state.stake_pot_account

    def accounts(instruction: object) -> list[tuple[str, bool, bool]]:
        return [(str(meta.pubkey), meta.is_signer, meta.is_writable) for meta in instruction.accounts]  # type: ignore[attr-defined]

    assert [name for name, _, _ in accounts(stake(state, worker, 1))][:4] == [state.task_id, worker, tokens, pot]
    assert accounts(submit(state.task_id, worker, "x", 1))[:2] == [(state.task_id, False, True), (worker, True, True)]
    assert accounts(fund_task(state, worker, 1))[1] == (worker, True, False)
    assert [name for name, _, _ in accounts(payout(state.task_id, worker, 1))][::2] == [state.task_id, worker]
    assert [name for name, _, _ in accounts(submit_list(state.task_id, worker, 1))][:3] == [state.task_id, worker, worker]
    assert accounts(claim_reward(state, worker, beneficiary=worker))[4][0] == pot_authority(pot)[0]
    made = create_task(state.task_id, key(9), POT, MINT, name="T", clock=state.clock, minimum_stake=1, bounty_per_round=1)
    assert str(made.program_id) == KPL_PROGRAM
    assert [signs for _, signs, _ in accounts(made)] == [True, True, False, True, False, False, False, False, False]
