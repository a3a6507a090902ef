from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from orca_protocol.round_value import PROOFS_MAX, VALUE_MAX_BYTES, RoundValue, proofs_in, read_round_value, write_round_value

A, B = "b" + "a" * 58, "b" + "c" * 58
_CIDS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=58, max_size=58).map(lambda text: "b" + text)


def test_one_proof_is_its_bare_cid_as_koii_tasks_always_wrote_it() -> None:
    assert write_round_value(RoundValue((A,))) == A


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{A} {B}", RoundValue((A, B))),
        (f"{A} verdicts:{B}", RoundValue((A,), B)),
        (f"verdicts:{B}", RoundValue((), B)),
        ("idle:nothing_available", RoundValue(idle="nothing_available")),
    ],
)
def test_every_form_is_read_and_written(text: str, value: RoundValue) -> None:
    assert read_round_value(text) == value
    assert write_round_value(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        f"{A} ",
        f" {A}",
        f"{A}  {B}",
        f"{A} {A}",
        f"{A},{B}",
        f"verdicts:{B} {A}",
        "idle:",
        "idle:No",
        f"idle:x {A}",
        "Qm" + "a" * 44,
        f"{A}verdicts:{B}",
        f"{A}{B}",
        f"{A}\n",
        "b" + "1" * 58,
    ],
)
def test_nothing_else_is_read(text: str) -> None:
    with pytest.raises(InvalidError, match="round_value"):
        read_round_value(text)
    assert proofs_in(text) == ()


def test_parts_that_contradict_each_other_are_not_written() -> None:
    for value in (RoundValue(), RoundValue((A,), idle="no_work"), RoundValue((A, A)), RoundValue(("no cid",))):
        with pytest.raises(InvalidError, match="round_value"):
            write_round_value(value)


def test_as_many_proofs_as_promised_fit() -> None:
    cids = ["b" + "a" * 57 + letter for letter in "abcdefghij"]
    text = write_round_value(RoundValue(tuple(cids[:PROOFS_MAX]), A))
    assert len(text) <= VALUE_MAX_BYTES
    with pytest.raises(InvalidError, match="round_value"):
        write_round_value(RoundValue(tuple(cids[: PROOFS_MAX + 1]), A))


@given(st.lists(_CIDS, unique=True, max_size=PROOFS_MAX), st.none() | _CIDS)
def test_what_is_written_is_read_again(proofs: list[str], verdicts: str | None) -> None:
    value = RoundValue(tuple(proofs), verdicts) if proofs or verdicts else RoundValue(idle="no_work")
    assert read_round_value(write_round_value(value)) == value


@given(st.text(max_size=600))
def test_a_strangers_text_is_read_or_refused(text: str) -> None:
    try:
        assert str(read_round_value(text)) == text
    except InvalidError as error:
        assert error.code == "round_value"
