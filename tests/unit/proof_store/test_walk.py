from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, LimitError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.limits import ReadLimits
from proof_store.reader import read_directory
from proof_store.unixfs import Layout
from proof_store.walk import TreeWalk

SMALL = Layout(chunk_bytes=4, links_per_node=3)
names = st.text("ab", min_size=1, max_size=2)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=1).map("/".join), st.binary(max_size=40), min_size=1, max_size=6)


@given(trees, st.integers())
def test_blocks_in_any_order_are_walked_to_the_end(files: dict[str, bytes], seed: int) -> None:
    blocks = MemoryBlocks()
    root = build_directory(files, blocks, SMALL).cid
    order = list(blocks.blocks)
    random.Random(seed).shuffle(order)
    walk, arrived = TreeWalk(root, ReadLimits()), dict[Cid, bytes]()
    for cid in order:
        assert not walk.is_finished
        arrived[cid] = blocks.get(cid)
        walk.advance(arrived)
    assert walk.is_finished
    assert arrived == {}
    assert read_directory(root, walk.blocks) == files


@given(trees, st.integers(1, 5))
def test_what_is_missing_is_all_that_need_be_asked_for(files: dict[str, bytes], count: int) -> None:
    blocks = MemoryBlocks()
    root = build_directory(files, blocks, SMALL).cid
    walk, arrived, asked = TreeWalk(root, ReadLimits()), dict[Cid, bytes](), list[Cid]()
    while not walk.is_finished:
        wanted = walk.missing(count, arrived)
        assert 1 <= len(wanted) <= count
        asked += wanted
        arrived |= {cid: blocks.get(cid) for cid in wanted}
        walk.advance(arrived)
    assert sorted(map(str, asked)) == sorted(map(str, blocks.blocks))


@given(trees, st.integers(1, 400), st.integers(1, 12), st.integers(0, 4), st.sampled_from([2, 4, 100]))
def test_it_ends_as_the_reader_ends(files: dict[str, bytes], total: int, links: int, depth: int, block: int) -> None:
    """Under any limits: either both stop, with the same code, or the reader finds all it asks for."""
    blocks = MemoryBlocks()
    root = build_directory(files, blocks, SMALL).cid
    limits = ReadLimits(total_bytes=total, links=links, depth=max(depth, 1), block_bytes=block)

    def code_of_reader(kept: MemoryBlocks) -> str:
        try:
            read_directory(root, kept, limits)
        except (LimitError, InvalidError) as error:
            return error.code
        return "ok"

    expected = code_of_reader(blocks)
    walk, arrived = TreeWalk(root, limits), dict(blocks.blocks)
    try:
        walk.advance(arrived)
    except LimitError as error:
        assert error.code == expected
    else:
        assert walk.is_finished
        assert code_of_reader(walk.blocks) == expected


def test_a_leaf_that_is_announced_too_large_is_not_waited_for() -> None:
    block = dag_pb.encode(PBNode((PBLink(Cid.of(RAW, b"x"), "x", 5_000_000),), b"\x08\x01"))
    cid = Cid.of(DAG_PB, block)
    with pytest.raises(LimitError, match="block_oversize"):
        TreeWalk(cid, ReadLimits()).advance({cid: block})


def test_blocks_of_other_trees_are_left_alone() -> None:
    other = Cid.of(RAW, b"other")
    arrived = {other: b"other"}
    walk = TreeWalk(Cid.of(RAW, b"root"), ReadLimits())
    walk.advance(arrived)
    assert arrived == {other: b"other"}
    assert not walk.blocks.blocks
    assert walk.missing(5, arrived) == [Cid.of(RAW, b"root")]
