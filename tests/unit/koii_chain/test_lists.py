from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.lists import LIST_MAX_BYTES, read_amounts, read_lists, write_lists
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.tasks import key

#: {7: {TASK: {"K": 5}}} as Koii's nodes write it (reference vector)
VECTOR = bytes.fromhex("0100000000000000010000000000000037010000000000000004000000000000005441534b07000000000000007b224b223a357d")

AMOUNTS = st.dictionaries(st.integers(0, 99).map(key), st.integers(-(2**53) + 1, 2**53 - 1), max_size=4)
LISTS = st.dictionaries(st.integers(0, 10**15), st.dictionaries(st.integers(0, 9).map(key), AMOUNTS, max_size=2), max_size=3)


def test_the_vector_is_read_and_written() -> None:
    lists = {7: {"TASK": {"K": 5}}}
    assert len(VECTOR) == 52
    assert read_lists(VECTOR, where="vector") == lists
    assert write_lists(lists) == VECTOR
    assert read_lists(VECTOR + bytes(48), where="vector") == lists


@given(LISTS)
def test_what_is_written_is_read_back(lists: dict[int, dict[str, dict[str, int]]]) -> None:
    assert read_lists(write_lists(lists), where="list") == lists


@given(st.integers(0, len(VECTOR) - 1))
def test_a_cut_off_account_is_refused(length: int) -> None:
    with pytest.raises(InvalidError):
        read_lists(VECTOR[:length], where="vector")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        lists = read_lists(data, where="list")
    except InvalidError:
        return
    assert isinstance(lists, dict)


@pytest.mark.parametrize(
    "text",
    [b"[]", b'{"K":1.5}', b'{"K":true}', b'{"K":"5"}', b'{"K":1,"K":2}', b'{"K":9007199254740992}', b'{"K":null}', b"", b"{"],
)
def test_amounts_are_whole_and_said_once(text: bytes) -> None:
    with pytest.raises(InvalidError):
        read_amounts(text, where="list")


def test_a_list_has_a_bound() -> None:
    with pytest.raises(InvalidError, match="at most"):
        read_lists(bytes(LIST_MAX_BYTES + 1), where="list")


def test_a_count_beyond_the_bytes_is_refused_before_it_is_believed() -> None:
    with pytest.raises(InvalidError, match="cannot be in"):
        read_lists(b"\xff" * 16, where="list")
