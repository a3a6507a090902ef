from __future__ import annotations

import hashlib

import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from orca_protocol.errors import InvalidError
from proof_store.cid import CODECS, DAG_CBOR, DAG_PB, RAW, Cid

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY_V0 = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"
EMPTY_V1 = "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SHA = hashlib.sha256(b"hello world").digest()

cids = st.builds(Cid, st.sampled_from(sorted(CODECS)), st.binary(min_size=32, max_size=32))


def in_base(base: str, data: bytes) -> str:
    return libipld.encode_multibase(base, data)


def test_known_cids() -> None:
    assert str(Cid.of(RAW, b"hello world")) == HELLO
    assert str(Cid.of(RAW, b"")) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert str(Cid.of(DAG_PB, b"")) == EMPTY_V1  # from the dag-pb specification
    assert str(Cid.of(DAG_CBOR, libipld.encode_dag_cbor({"a": 1, "b": [1, 2, 3]}))).startswith("bafyreidwixkl")


@given(cids)
def test_agrees_with_multiformats(cid: Cid) -> None:
    theirs = CID("base32", 1, CODECS[cid.codec], ("sha2-256", cid.digest))
    assert str(cid) == str(theirs)
    assert cid.to_bytes() == bytes(theirs)
    assert Cid.parse(str(theirs)) == cid
    assert Cid.from_bytes(bytes(theirs)) == cid


@given(cids, st.sampled_from("bBzZfFkKmuUvVtTh0"))
def test_every_spelling_becomes_the_canonical_one(cid: Cid, base: str) -> None:
    again = Cid.parse(in_base(base, cid.to_bytes()))
    assert again == cid
    assert str(again).startswith("baf")


def test_version_0_becomes_version_1() -> None:
    assert str(Cid.parse(EMPTY_V0)) == EMPTY_V1
    assert Cid.from_bytes(b"\x12\x20" + SHA) == Cid(DAG_PB, SHA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        HELLO[:-1],
        HELLO + "a",
        HELLO[:-1] + "f",  # the same bytes, if the last character's spare bits are thrown away
        "/ipfs/" + HELLO,
        " " + HELLO,
        HELLO + "\n",
        "b" + HELLO[1:].upper(),
        "x" + HELLO[1:],
        EMPTY_V0[:-1] + "0",  # 0 is not in base58
        EMPTY_V0 + "1",
        in_base("z", b"\x12\x20" + SHA),  # version 0 has one spelling, without a multibase prefix
        in_base("b", bytes([0, 0x70, 0x12, 32]) + SHA),
        in_base("b", bytes([1, 0x55, 0x12, 32]) + SHA + b"x"),
        in_base("b", bytes([1, 0x55, 0x12, 32]) + SHA[:-1]),
        in_base("b", bytes([1, 0xD5, 0x00, 0x12, 32]) + SHA),  # codec padded with a zero
        "\x00" + "a" * 36,
        "b" + "a" * 600,
        "bäfkrei",
    ],
)
def test_what_is_no_cid_is_malformed(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        Cid.parse(text)
    assert caught.value.code == "cid_malformed"


@pytest.mark.parametrize(
    "data",
    [
        bytes([1, 0x55, 0x00, 5]) + b"hello",  # identity: the block inside its own name
        bytes([1, 0x55, 0x13, 64]) + bytes(64),  # sha2-512
        bytes([1, 0x55, 0x12, 20]) + SHA[:20],  # sha2-256 cut short
        bytes([1, 0x78, 0x12, 32]) + SHA,  # git-raw
        bytes([1, 0x85, 0x02, 0x12, 32]) + SHA,  # dag-jose
        bytes([2, 0x55, 0x12, 32]) + SHA,
    ],
)
def test_other_kinds_of_cid_are_unsupported(data: bytes) -> None:
    with pytest.raises(InvalidError) as binary:
        Cid.from_bytes(data)
    with pytest.raises(InvalidError) as text:
        Cid.parse(in_base("b", data))
    assert binary.value.code == text.value.code == "cid_unsupported"


@given(st.text(max_size=80) | st.from_regex(r"[bBzfkmuQ][A-Za-z0-9]{0,70}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except InvalidError:
        return
    assert Cid.parse(str(cid)) == cid


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"\x01\x55\x12\x20" + tail))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        cid = Cid.from_bytes(data)
    except InvalidError:
        return
    assert cid.to_bytes() == data or data[:2] == b"\x12\x20"


def test_a_text_too_long_for_the_chain_is_not_even_decoded() -> None:
    with pytest.raises(InvalidError, match="at most 512 ASCII characters; this text has 513"):
        Cid.parse("b" + "a" * 512)
    with pytest.raises(InvalidError, match="ASCII"):
        Cid.parse(HELLO.replace("a", "\u0430"))  # Cyrillic


def test_a_cid_cannot_be_made_by_mistake() -> None:
    with pytest.raises(TypeError):
        Cid(RAW, b"short")
    with pytest.raises(TypeError):
        Cid(0x78, SHA)
