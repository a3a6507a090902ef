from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from proof_store.unixfs import PROTOCOL_LAYOUT, Kind, Layout, NodeData, decode_data, encode_data
from proof_store.wire import encode_field


def test_the_parameters_of_the_protocol() -> None:
    assert Layout(262_144, 174) == PROTOCOL_LAYOUT


def test_messages_as_kubo_writes_them() -> None:
    assert encode_data(NodeData(Kind.DIRECTORY)).hex() == "0801"
    assert encode_data(NodeData(Kind.FILE, (262_144, 1))).hex() == "0802" + "18818010" + "20808010" + "2001"


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=5).map(tuple))
def test_round_trip(sizes: tuple[int, ...]) -> None:
    data = NodeData(Kind.FILE, sizes)
    assert decode_data(encode_data(data), links=len(sizes)) == data
    assert data.filesize == sum(sizes)


TYPE_FILE = encode_field(1, 2)


@pytest.mark.parametrize(
    ("message", "links", "code"),
    [
        (encode_field(1, 0), 0, "unixfs_unsupported"),
        (encode_field(1, 3), 0, "unixfs_unsupported"),
        (encode_field(1, 4) + encode_field(2, b"/etc/passwd"), 0, "symlink_unsupported"),
        (encode_field(1, 5) + encode_field(2, b"\xff") + encode_field(5, 0x22) + encode_field(6, 256), 1, "hamt_unsupported"),
        (TYPE_FILE + encode_field(2, b"inline") + encode_field(3, 6), 0, "unixfs_unsupported"),
        (TYPE_FILE + encode_field(3, 1) + encode_field(4, 1) + encode_field(7, 0o644), 1, "unixfs_unsupported"),
        (encode_field(1, 1) + encode_field(8, b"\x08\x00"), 0, "unixfs_unsupported"),
        (TYPE_FILE + encode_field(3, 3) + encode_field(4, 1) + encode_field(4, 1), 2, "size_mismatch"),
        (TYPE_FILE + encode_field(3, 1) + encode_field(4, 1), 2, "unixfs_malformed"),
        (TYPE_FILE + encode_field(3, 1) + encode_field(4, 1) + encode_field(4, 1), 1, "unixfs_malformed"),
        (TYPE_FILE + encode_field(3, 0), 0, "unixfs_malformed"),  # an empty file is the raw block of nothing
        (TYPE_FILE + encode_field(4, 1), 1, "unixfs_malformed"),
        (TYPE_FILE + encode_field(4, 1) + encode_field(3, 1), 1, "unixfs_malformed"),
        (encode_field(1, 6), 0, "unixfs_malformed"),
        (encode_field(1, 1) + encode_field(3, 0), 0, "unixfs_malformed"),
        (encode_field(1, 1) * 2, 0, "unixfs_malformed"),
        (encode_field(3, 0), 0, "unixfs_malformed"),
        (b"", 0, "unixfs_malformed"),
        (b"\x08", 0, "unixfs_malformed"),
        (b"\x08\x81\x00", 0, "unixfs_malformed"),
    ],
)
def test_other_nodes_are_refused(message: bytes, links: int, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        decode_data(message, links=links)
    assert caught.value.code == code


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: b"\x08\x02\x18" + tail), st.integers(0, 4))
def test_any_bytes_are_read_or_refused(message: bytes, links: int) -> None:
    try:
        data = decode_data(message, links=links)
    except InvalidError:
        return
    assert encode_data(data) == message


@pytest.mark.parametrize(("chunk", "links"), [(0, 174), (262_144, 1)])
def test_a_layout_that_cannot_hold_a_file_is_our_mistake(chunk: int, links: int) -> None:
    with pytest.raises(TypeError):
        Layout(chunk, links)
