from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode, decode, encode
from proof_store.wire import FieldReader, encode_field, encode_varint

A = Cid.of(RAW, b"a")
B = Cid.of(DAG_PB, b"")

links = st.builds(PBLink, st.sampled_from([A, B]), st.text(max_size=10), st.integers(0, 2**63 - 1))
nodes = st.builds(PBNode, st.lists(links, max_size=6).map(tuple), st.none() | st.binary(max_size=40))


def link(*fields: bytes) -> bytes:
    return encode_field(2, b"".join(fields))


HASH = encode_field(1, A.to_bytes())
NAME = encode_field(2, b"a")
TSIZE = encode_field(3, 1)
DATA = encode_field(1, b"\x08\x01")


def test_the_blocks_of_the_specification() -> None:
    assert encode(PBNode()) == b""
    assert decode(b"") == PBNode((), None)
    assert encode(PBNode((), b"")) == b"\x0a\x00"
    assert decode(b"\x0a\x00") == PBNode((), b"")
    assert encode(PBNode((), b"\x00\x01")).hex() == "0a020001"
    assert encode(PBNode((PBLink(A, "", 1),))).hex() == "122a" + "0a24" + A.to_bytes().hex() + "1200" + "1801"


@given(nodes)
def test_round_trip_with_sorted_links(node: PBNode) -> None:
    block = encode(node)
    again = decode(block)
    assert again.data == node.data
    assert again.links == tuple(sorted(node.links, key=lambda one: one.name.encode()))
    assert encode(again) == block


def test_names_are_ordered_by_bytes_and_equal_names_keep_their_order() -> None:
    names = ["é", "z", "", "", "\U0001f988", "\uffff"]
    node = PBNode(tuple(PBLink(A, name, number) for number, name in enumerate(names)))
    # U+FFFF comes before U+1F988 in UTF-8 and after it in UTF-16.
    assert [one.tsize for one in decode(encode(node)).links] == [2, 3, 1, 0, 5, 4]


@pytest.mark.parametrize(
    "block",
    [
        DATA + link(HASH, NAME, TSIZE),  # data before links
        DATA + DATA,
        link(HASH, NAME, TSIZE) + DATA + link(HASH, NAME, TSIZE),
        link(NAME, TSIZE),
        link(HASH, TSIZE),
        link(HASH, NAME),
        link(NAME, HASH, TSIZE),
        link(HASH, TSIZE, NAME),
        link(HASH, NAME, NAME, TSIZE),
        link(HASH, NAME, TSIZE, TSIZE),
        link(HASH, NAME, TSIZE, encode_field(4, 1)),
        link(HASH, encode_field(2, b"b"), TSIZE) + link(HASH, NAME, TSIZE),  # out of order
        link(HASH, encode_field(2, b"\xff"), TSIZE),  # no UTF-8
        link(HASH, encode_field(2, b"\xed\xa0\x80"), TSIZE),  # a surrogate
        link(HASH, NAME, b"\x18\x81\x00"),  # padded varint
        link(HASH, NAME, b"\x18" + b"\xff" * 9 + b"\x01"),  # 64 bits
        link(encode_field(1, b"\x12\x20" + A.digest), NAME, TSIZE),  # a CID of version 0
        b"\x12\x7f" + HASH,  # longer than the block
        b"\x12",
        b"\x0a\x05abc",
        b"\x0a\x82\x00ab",  # padded length
        encode_field(3, 1),  # unknown field
        b"\x08\x01",  # Data with the wrong wire type
        DATA + b"\x00",
    ],
)
def test_other_spellings_are_malformed(block: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        decode(block)
    assert caught.value.code == "dag_pb_malformed"


def test_a_link_with_a_broken_cid_says_so() -> None:
    with pytest.raises(InvalidError) as caught:
        decode(link(encode_field(1, b"\x01\x55\x00\x00"), NAME, TSIZE))
    assert caught.value.code == "cid_unsupported"


def test_links_are_bounded() -> None:
    one = link(HASH, encode_field(2, b""), TSIZE)
    assert len(decode(one * 1000).links) == 1000
    with pytest.raises(InvalidError) as caught:
        decode(one * 1001)
    assert caught.value.code == "dag_pb_malformed"
    with pytest.raises(InvalidError):
        decode(one * 3, max_links=2)


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(block: bytes) -> None:
    try:
        node = decode(block)
    except InvalidError:
        return
    assert encode(node) == block


@given(nodes, st.data())
def test_a_changed_block_is_read_as_itself_or_refused(node: PBNode, data: st.DataObject) -> None:
    block = bytearray(encode(node) + b"\x00")
    block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = decode(bytes(block))
    except InvalidError:
        return
    assert encode(again) == block


@given(st.integers(0, 2**63 - 1))
def test_varints_round_trip(value: int) -> None:
    reader = FieldReader(encode_varint(value), code="x", what="x")
    assert reader.varint() == value
    reader.finish()


@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_number_that_does_not_fit_is_our_mistake(value: int) -> None:
    with pytest.raises(TypeError):
        encode_varint(value)
