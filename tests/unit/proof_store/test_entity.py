from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory, build_file
from proof_store.car import blocks_below
from proof_store.cid import DAG_CBOR, DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.entity import ByteSpan, Resolved, Scope, blocks_of, resolve
from proof_store.limits import CarLimits
from proof_store.unixfs import Kind, Layout, NodeData, encode_data

SMALL = Layout(chunk_bytes=4, links_per_node=3)
LIMITS = CarLimits()


def entity(blocks: MemoryBlocks, cid: Cid, *path: str, scope: Scope = Scope.ENTITY) -> Resolved:
    return resolve(cid, path, blocks, LIMITS, scope)


def sent(blocks: MemoryBlocks, cid: Cid, span: ByteSpan | None, *, repeated: bool = False) -> list[Cid]:
    place = entity(blocks, cid)
    return [name for name, _ in blocks_of(place, Scope.ENTITY, span, blocks, LIMITS, repeated=repeated)]


@given(st.integers(0, 120), st.integers(-130, 130), st.none() | st.integers(-130, 130))
def test_a_span_is_answered_with_the_leaves_that_hold_it_and_no_others(size: int, first: int, last: int | None) -> None:
    content = bytes(range(size))
    blocks = MemoryBlocks()
    cid = build_file(content, blocks, SMALL).cid
    start = first if first >= 0 else size + first
    stop = size if last is None else last + 1 if last >= 0 else size + last + 1
    wanted = set(range(max(start, 0), min(stop, size)))
    try:
        names = sent(blocks, cid, ByteSpan(first, last))
    except InvalidError as error:
        assert error.code == "span_outside"
        assert not wanted
        return
    leaves = [name for name in names if name.codec == RAW]
    assert names[0] == cid
    if wanted:
        holding = {content[place // 4 * 4 : place // 4 * 4 + 4] for place in wanted}
        assert [blocks.get(name) for name in leaves] == sorted(holding)
    else:
        assert names == [cid]  # as dag-scope=block
    # Every block is reached from one that came before it: a client can verify the answer as it comes.
    seen = {cid}
    for name in names:
        assert name in seen
        if name.codec == DAG_PB:
            seen |= {link.cid for link in dag_pb.decode(blocks.get(name)).links}


@given(st.integers(0, 100), st.booleans())
def test_the_whole_span_is_the_whole_file(size: int, repeated: bool) -> None:
    blocks = MemoryBlocks()
    cid = build_file(bytes(size), blocks, SMALL).cid  # zeros: every full leaf is one block
    whole = [name for name, _ in blocks_below(cid, blocks, LIMITS, repeated=repeated)]
    assert sent(blocks, cid, None, repeated=repeated) == whole
    assert sent(blocks, cid, ByteSpan(0, None), repeated=repeated) == whole


def test_repeated_leaves_cost_no_more_than_their_number() -> None:
    """Forty levels of the same node twice: without care, 2^40 visits."""
    blocks = MemoryBlocks()
    cid, size, tsize = Cid.of(RAW, b"x"), 1, 1
    blocks.put(cid, b"x")
    for _ in range(40):
        block = dag_pb.encode(PBNode((PBLink(cid, "", tsize),) * 2, encode_data(NodeData(Kind.FILE, (size, size)))))
        cid, size, tsize = Cid.of(DAG_PB, block), size * 2, tsize * 2 + len(block)
        blocks.put(cid, block)
    assert len(sent(blocks, cid, ByteSpan(1, -2))) == 41
    assert len(sent(blocks, cid, None)) == 41


def test_a_file_that_lies_about_its_parts_is_not_followed() -> None:
    blocks = MemoryBlocks()
    leaf = build_file(b"four", blocks, SMALL).cid
    block = dag_pb.encode(PBNode((PBLink(leaf, "", 4),), encode_data(NodeData(Kind.FILE, (9,)))))
    blocks.put(Cid.of(DAG_PB, block), block)
    with pytest.raises(InvalidError, match="size_mismatch"):
        sent(blocks, Cid.of(DAG_PB, block), ByteSpan(0, 8))


def test_paths_lead_through_plain_directories() -> None:
    blocks = MemoryBlocks()
    root = build_directory({"a/b/c": b"content", "a/d": b""}, blocks, SMALL).cid
    place = entity(blocks, root, "a", "b", "c")
    assert len(place.roots) == 4
    assert place.size == 7
    for path in (("x",), ("a", "d", "e"), ("a", "b", "c", "d")):
        with pytest.raises(InvalidError, match="path_absent"):
            entity(blocks, root, *path)
    del blocks.blocks[place.above[2]]
    with pytest.raises(UnavailableError, match="block_missing"):
        entity(blocks, root, "a", "b", "c")


def test_what_is_not_unixfs_is_one_block() -> None:
    blocks = MemoryBlocks()
    no_data = dag_pb.encode(PBNode((PBLink(Cid.of(RAW, b"x"), "a", 1),)))
    for codec, block in ((DAG_CBOR, b"\xa0"), (DAG_PB, no_data), (DAG_PB, dag_pb.encode(PBNode((), b"\xff")))):
        cid = Cid.of(codec, block)
        blocks.put(cid, block)
        assert sent(blocks, cid, None) == sent(blocks, cid, ByteSpan(3, 4)) == [cid]
        with pytest.raises(InvalidError, match=r"path_absent|codec_unsupported"):
            entity(blocks, cid, "a")
    with pytest.raises(InvalidError, match="codec_unsupported"):
        entity(blocks, Cid.of(DAG_CBOR, b"\xa0"), scope=Scope.ALL)
