from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import Built, build_directory, build_file, root_of
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.reader import read_directory, read_file
from proof_store.unixfs import Layout, decode_data

SMALL = Layout(chunk_bytes=4, links_per_node=3)


class Trickle(io.RawIOBase):
    """A stream that gives a byte at a time, as a socket may, and remembers how much was asked for at once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unbounded read"
        self.largest = max(self.largest, size)
        return self._data.read(min(size, 1))


class Broken(io.RawIOBase):
    def read(self, _size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


def depth_of(cid: Cid, blocks: MemoryBlocks) -> set[int]:
    """The depths at which leaves are."""
    if cid.codec == RAW:
        return {0}
    return {1 + depth for link in dag_pb.decode(blocks.get(cid)).links for depth in depth_of(link.cid, blocks)}


def tsize_of(cid: Cid, blocks: MemoryBlocks) -> int:
    block = blocks.get(cid)
    below = dag_pb.decode(block).links if cid.codec == DAG_PB else ()
    assert all(link.tsize == tsize_of(link.cid, blocks) for link in below)
    return len(block) + sum(link.tsize for link in below)


def test_a_file_of_one_chunk_is_its_raw_block() -> None:
    for content in (b"", b"a", b"abcd"):
        blocks = MemoryBlocks()
        assert build_file(content, blocks, SMALL) == Built(Cid.of(RAW, content), len(content), len(content))
        assert list(blocks.blocks.values()) == [content]


@pytest.mark.parametrize(
    ("size", "depth"),
    [(4, 0), (5, 1), (12, 1), (13, 2), (36, 2), (37, 3), (108, 3), (109, 4)],
)
def test_every_leaf_is_equally_deep(size: int, depth: int) -> None:
    content, blocks = bytes(range(size)), MemoryBlocks()
    built = build_file(content, blocks, SMALL)
    assert depth_of(built.cid, blocks) == {depth}
    assert built == Built(built.cid, size, tsize_of(built.cid, blocks))
    assert read_file(built.cid, blocks) == content


def test_the_edge_of_the_real_layout() -> None:
    blocks = MemoryBlocks()
    for size in (262_143, 262_144):
        assert build_file(bytes(size), blocks).cid == Cid.of(RAW, bytes(size))
    built = build_file(bytes(262_145), blocks)
    assert read_file(built.cid, blocks) == bytes(262_145)
    node = dag_pb.decode(blocks.get(built.cid))
    assert [link.tsize for link in node.links] == [262_144, 1]
    assert decode_data(node.data or b"", links=2).blocksizes == (262_144, 1)


def test_174_links_then_another_level() -> None:
    layout = Layout(chunk_bytes=2)  # the protocol's 174 links
    content, blocks = b"".join(number.to_bytes(2) for number in range(175)), MemoryBlocks()
    assert depth_of(build_file(content[:-4], blocks, layout).cid, blocks) == {1}
    assert depth_of(build_file(content[:-2], blocks, layout).cid, blocks) == {1}
    root = build_file(content, blocks, layout).cid
    assert depth_of(root, blocks) == {2}
    assert [len(dag_pb.decode(blocks.get(link.cid)).links) for link in dag_pb.decode(blocks.get(root)).links] == [174, 1]
    assert read_file(root, blocks) == content


@given(st.binary(max_size=200), st.integers(1, 9), st.integers(2, 5))
def test_any_file_comes_back_and_a_stream_gives_the_same(content: bytes, chunk: int, links: int) -> None:
    layout, blocks, other = Layout(chunk, links), MemoryBlocks(), MemoryBlocks()
    built = build_file(content, blocks, layout)
    assert read_file(built.cid, blocks) == content
    assert build_file(cast("BinaryIO", Trickle(content)), other, layout) == built
    assert other.blocks == blocks.blocks


def test_a_stream_is_read_a_chunk_at_a_time() -> None:
    stream = Trickle(bytes(50))
    build_file(cast("BinaryIO", stream), MemoryBlocks(), SMALL)
    assert stream.largest <= SMALL.chunk_bytes


def test_a_stream_that_fails_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught:
        build_file(cast("BinaryIO", Broken()), MemoryBlocks())
    assert caught.value.code == "storage_failed"


names = st.lists(st.text("abé~", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(names, st.binary(max_size=20), max_size=8))
def test_any_directory_comes_back(files: dict[str, bytes]) -> None:
    blocks = MemoryBlocks()
    assume(not any(other.startswith(name + "/") for name in files for other in files))
    built = build_directory(files, blocks, SMALL)
    assert read_directory(built.cid, blocks) == files
    assert built == Built(built.cid, sum(map(len, files.values())), tsize_of(built.cid, blocks))
    assert root_of(dict(reversed(files.items())), SMALL) == built.cid


def test_an_empty_directory_is_the_known_one() -> None:
    assert str(root_of({})) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


def test_every_name_and_byte_counts() -> None:
    roots = {root_of(files) for files in ({"a": b"1"}, {"b": b"1"}, {"a": b"2"}, {"a/a": b"1"}, {"a": b"1", "b": b"1"})}
    assert len(roots) == 5


def test_a_directory_holds_1000_entries() -> None:
    assert len(dag_pb.decode(_root_block({f"{number}": b"" for number in range(1000)})).links) == 1000
    with pytest.raises(InvalidError) as caught:
        root_of({f"{number}": b"" for number in range(1001)})
    assert caught.value.code == "directory_oversize"


def test_a_directory_block_stays_below_256_kib() -> None:
    files = {f"{number:0255}": b"" for number in range(870)}
    assert len(_root_block({**files, "x" * 223: b""})) == 262_143
    with pytest.raises(InvalidError) as caught:
        root_of({**files, "x" * 224: b""})
    assert caught.value.code == "directory_oversize"


def test_bad_names_store_nothing() -> None:
    blocks = MemoryBlocks()
    for files in ({"ok": b"", "../x": b""}, {"ok": b"", "ok/x": b""}):
        with pytest.raises(InvalidError):
            build_directory(files, blocks)
    assert blocks.blocks == {}


def _root_block(files: dict[str, bytes]) -> bytes:
    blocks = MemoryBlocks()
    return blocks.get(build_directory(files, blocks).cid)
