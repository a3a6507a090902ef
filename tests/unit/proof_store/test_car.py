from __future__ import annotations

import io
from typing import BinaryIO, cast

import ipld_car
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.car import read_car, write_car
from proof_store.cid import DAG_CBOR, RAW, Cid
from proof_store.limits import CarLimits
from proof_store.reader import read_directory
from proof_store.unixfs import Layout
from proof_store.wire import encode_varint

SMALL = Layout(chunk_bytes=4, links_per_node=3)
FILES = {"b": b"1234567890", "a/x": b"1234567890", "a/y": b"", "c": b"1234"}
LEAF = b"hello world"
CID_OF_LEAF = Cid.of(RAW, LEAF)


def section(cid: bytes, block: bytes) -> bytes:
    return encode_varint(len(cid) + len(block)) + cid + block


def header(*roots: bytes, version: object = 1, **more: object) -> bytes:
    encoded = libipld.encode_dag_cbor({"roots": list(roots), "version": version, **more})
    return encode_varint(len(encoded)) + encoded


SECTION = section(CID_OF_LEAF.to_bytes(), LEAF)
HEADER = header(CID_OF_LEAF.to_bytes())
GOOD = HEADER + SECTION


def written(files: dict[str, bytes]) -> tuple[Cid, MemoryBlocks, bytes]:
    blocks, sink = MemoryBlocks(), io.BytesIO()
    root = build_directory(files, blocks, SMALL).cid
    assert write_car(root, blocks, sink) == len(sink.getvalue())
    return root, blocks, sink.getvalue()


def refusal(data: bytes, limits: CarLimits | None = None) -> OrcaError:
    with pytest.raises(OrcaError) as caught:
        read_car(io.BytesIO(data), MemoryBlocks(), limits or CarLimits())
    return caught.value


def test_libipld_reads_the_same_file() -> None:
    """Its decoder takes dag-cbor blocks only, so the tree is such; Kubo's own CAR is in test_kubo_vectors.py."""
    documents = [libipld.encode_dag_cbor({"number": number}) for number in range(3)]
    cids = [Cid.of(DAG_CBOR, document) for document in documents]
    data = header(cids[0].to_bytes()) + b"".join(section(cid.to_bytes(), block) for cid, block in zip(cids, documents, strict=True))
    blocks = MemoryBlocks()
    root = read_car(io.BytesIO(data), blocks)
    their_header, their_blocks = libipld.decode_car(data)
    assert their_header == {"roots": [root.to_bytes()], "version": 1}
    assert {Cid.from_bytes(cid) for cid in their_blocks} == set(blocks.blocks) == set(cids)


def test_a_public_library_reads_what_is_written_and_writes_what_is_read() -> None:
    root, blocks, data = written(FILES)
    (their_root,), their_blocks = ipld_car.decode(data)
    assert bytes(their_root) == root.to_bytes()
    assert {Cid.from_bytes(bytes(cid)): bytes(block) for cid, block in their_blocks} == blocks.blocks
    into = MemoryBlocks()
    assert read_car(io.BytesIO(bytes(ipld_car.encode([their_root], their_blocks))), into) == root
    assert into.blocks == blocks.blocks
    assert bytes(ipld_car.encode([their_root], their_blocks)) == data


def test_libipld_reads_the_header_that_is_written() -> None:
    root, _, data = written(FILES)
    assert libipld.decode_dag_cbor(data[1 : 1 + data[0]]) == {"roots": [root.to_bytes()], "version": 1}


def test_sections_are_what_multiformats_says() -> None:
    root, blocks, data = written(FILES)
    sections = list(_sections(data))
    assert [str(CID.decode(cid).set(base="base32")) for cid, _ in sections] == [str(Cid.from_bytes(cid)) for cid, _ in sections]
    assert {Cid.from_bytes(cid): block for cid, block in sections} == blocks.blocks
    assert sections[0][0] == root.to_bytes()


def test_every_block_once_depth_first_in_link_order() -> None:
    root, blocks, data = written(FILES)
    seen: dict[Cid, None] = {}

    def visit(cid: Cid) -> None:
        if cid not in seen:
            seen[cid] = None
            for link in dag_pb.decode(blocks.get(cid)).links if cid.codec != RAW else ():
                visit(link.cid)

    visit(root)
    assert [Cid.from_bytes(cid) for cid, _ in _sections(data)] == list(seen)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.binary(max_size=30), max_size=6))
def test_round_trip(files: dict[str, bytes]) -> None:
    root, blocks, data = written(files)
    again = MemoryBlocks()
    assert read_car(io.BytesIO(data), again) == root
    assert again.blocks == blocks.blocks
    assert read_directory(root, again) == files


def test_a_root_of_version_0_is_read_as_version_1() -> None:
    empty = b"\x12\x20" + Cid.of(0x70, b"").digest
    assert read_car(io.BytesIO(header(empty) + section(empty, b"")), MemoryBlocks()) == Cid.of(0x70, b"")


def test_blocks_of_any_codec_are_carried_and_repetition_is_harmless() -> None:
    extra = Cid.of(DAG_CBOR, b"\xa0")
    blocks = MemoryBlocks()
    assert read_car(io.BytesIO(GOOD + section(extra.to_bytes(), b"\xa0") + SECTION), blocks) == CID_OF_LEAF
    assert set(blocks.blocks) == {CID_OF_LEAF, extra}


PADDED = bytes([len(SECTION) - 1 | 0x80, 0]) + SECTION[1:]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "car_malformed"),
        (HEADER, "car_malformed"),  # without its root
        (HEADER + section(Cid.of(RAW, b"x").to_bytes(), b"x"), "car_malformed"),
        (GOOD[:-1], "car_malformed"),
        (GOOD[: len(HEADER) + 10], "car_malformed"),
        (HEADER[:-1], "car_malformed"),
        (GOOD + b"\0", "car_malformed"),
        (GOOD + b"\x80", "car_malformed"),
        (GOOD + b"garbage", "car_malformed"),
        (HEADER + PADDED, "car_malformed"),
        (HEADER + b"\xff" * 9 + b"\x01", "car_malformed"),
        (HEADER + b"\x21" + bytes(33), "car_malformed"),
        (b"\x05hello", "car_malformed"),
        (b"\0", "car_malformed"),
        (encode_varint(1000) + b"\x81" * 999 + b"\x80", "car_malformed"),
        (header() + SECTION, "car_unsupported"),
        (header(CID_OF_LEAF.to_bytes(), CID_OF_LEAF.to_bytes()) + SECTION, "car_unsupported"),
        (header(CID_OF_LEAF.to_bytes(), version=2) + SECTION, "car_unsupported"),
        (bytes.fromhex("0aa16776657273696f6e02") + bytes(40), "car_unsupported"),  # how version 2 begins
        (header(CID_OF_LEAF.to_bytes(), version=True) + SECTION, "car_malformed"),
        (header(CID_OF_LEAF.to_bytes(), version="1") + SECTION, "car_malformed"),
        (header(CID_OF_LEAF.to_bytes(), more=1) + SECTION, "car_malformed"),
        (bytes([HEADER[0] - 3]) + HEADER[1:].replace(b"\xd8\x2a\x58\x25\x00", b"\x58\x24") + SECTION, "car_malformed"),  # no link
        (b"\x01\xf6" + SECTION, "car_malformed"),
        (HEADER + section(CID_OF_LEAF.to_bytes(), LEAF + b"!"), "block_corrupt"),
        (HEADER + section(b"\x01\x55\x00\x20" + bytes(32), b""), "cid_unsupported"),
        (HEADER + section(b"\x09" * 36, b""), "cid_malformed"),
    ],
)
def test_other_files_are_refused(data: bytes, code: str) -> None:
    assert read_car(io.BytesIO(GOOD), MemoryBlocks()) == CID_OF_LEAF
    error = refusal(data)
    assert isinstance(error, InvalidError)
    assert error.code == code


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (CarLimits(total_bytes=len(GOOD) - 1), "car_bytes"),
        (CarLimits(total_bytes=len(HEADER)), "car_bytes"),
        (CarLimits(header_bytes=len(HEADER) - 2), "car_header"),
        (CarLimits(block_bytes=len(LEAF) - 1), "block_oversize"),
    ],
)
def test_limits_of_reading(limits: CarLimits, code: str) -> None:
    exact = CarLimits(total_bytes=len(GOOD), header_bytes=len(HEADER) - 1, block_bytes=len(LEAF), blocks=1)
    assert read_car(io.BytesIO(GOOD), MemoryBlocks(), exact) == CID_OF_LEAF
    error = refusal(GOOD, limits)
    assert isinstance(error, LimitError)
    assert error.code == code


class Credulous(MemoryBlocks):
    """A store that keeps whatever it is given."""

    def put(self, cid: Cid, block: bytes) -> None:
        self.blocks[cid] = block


def test_hashes_are_checked_whatever_the_store_does() -> None:
    with pytest.raises(InvalidError) as caught:
        read_car(io.BytesIO(HEADER + section(CID_OF_LEAF.to_bytes(), b"another")), Credulous())
    assert caught.value.code == "block_corrupt"


def test_a_header_nested_as_deep_as_it_is_long_is_malformed() -> None:
    deep = b"\x81" * 100_000 + b"\x80"
    assert refusal(encode_varint(len(deep)) + deep, CarLimits(header_bytes=len(deep))).code == "car_malformed"


def test_blocks_are_counted_and_announced_sizes_are_believed_before_reading() -> None:
    assert refusal(GOOD + SECTION, CarLimits(blocks=1)).code == "car_blocks"
    assert refusal(HEADER + encode_varint(1 << 40)).code == "block_oversize"
    assert refusal(encode_varint(1 << 40)).code == "car_header"
    assert refusal(HEADER + encode_varint(5000), CarLimits(total_bytes=1000)).code == "car_bytes"


def test_limits_of_writing() -> None:
    root, blocks, data = written(FILES)
    count = len(blocks.blocks)
    write_car(root, blocks, io.BytesIO(), CarLimits(total_bytes=len(data), blocks=count))
    for limits, code in ((CarLimits(total_bytes=len(data) - 1), "car_bytes"), (CarLimits(blocks=count - 1), "car_blocks")):
        with pytest.raises(LimitError) as caught:
            write_car(root, blocks, io.BytesIO(), limits)
        assert caught.value.code == code


def test_what_cannot_be_walked_is_not_written() -> None:
    blocks = MemoryBlocks()
    cid = Cid.of(DAG_CBOR, b"\xa0")
    blocks.put(cid, b"\xa0")
    with pytest.raises(InvalidError) as caught:
        write_car(cid, blocks, io.BytesIO())
    assert caught.value.code == "codec_unsupported"
    with pytest.raises(UnavailableError) as missing:
        write_car(CID_OF_LEAF, blocks, io.BytesIO())
    assert missing.value.code == "block_missing"


class Slow(io.RawIOBase):
    """A stream that takes and gives three bytes at a time, and fails when it is full."""

    def __init__(self, data: bytes = b"", room: int = 10**9) -> None:
        self.data = bytearray(data)
        self._room = room

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unbounded read"
        piece = bytes(self.data[: min(size, 3)])
        del self.data[: len(piece)]
        if not piece and self._room == 0:
            raise OSError(5, "Input/output error")
        return piece

    def write(self, data: object) -> int:
        if len(self.data) >= self._room:
            raise OSError(28, "No space left on device")
        taken = bytes(cast("memoryview", data)[:3])
        self.data += taken
        return len(taken)


def test_streams_that_take_and_give_little() -> None:
    root, blocks, data = written(FILES)
    sink = Slow()
    write_car(root, blocks, cast("BinaryIO", sink))
    assert sink.data == data
    assert read_car(cast("BinaryIO", Slow(data)), MemoryBlocks()) == root


def test_streams_that_fail_are_unavailable() -> None:
    root, blocks, data = written(FILES)
    with pytest.raises(UnavailableError) as caught:
        write_car(root, blocks, cast("BinaryIO", Slow(room=100)))
    assert caught.value.code == "storage_failed"
    with pytest.raises(UnavailableError):
        read_car(cast("BinaryIO", Slow(data, room=0)), MemoryBlocks())


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: HEADER + tail))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        root = read_car(io.BytesIO(data), MemoryBlocks())
    except OrcaError:
        return
    assert root == CID_OF_LEAF


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_seen(position: int, value: int) -> None:
    changed = bytearray(GOOD)
    changed[position] = value
    if changed == GOOD:
        return
    refusal(bytes(changed))


def _sections(data: bytes) -> list[tuple[bytes, bytes]]:
    """An independent reading of sound CARs: lengths below 2^14, CIDs of 36 bytes."""
    found, rest = [], data[1 + data[0] :]
    while rest:
        length, start = (rest[0], 1) if rest[0] < 0x80 else (rest[0] & 0x7F | rest[1] << 7, 2)
        found.append((rest[start : start + 36], rest[start + 36 : start + length]))
        rest = rest[start + length :]
    return found


def test_links_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    root, blocks, _ = written({str(number): b"x" for number in range(20)})
    monkeypatch.setattr("proof_store.car.MAX_PENDING", 19)
    with pytest.raises(LimitError, match="car_links"):
        write_car(root, blocks, io.BytesIO())
