"""What every store in the table promises, and the one in memory too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store.base import BlockStore, MemoryBlocks, checked
from proof_store.blocks import DirectoryBlocks
from proof_store.cid import DAG_CBOR, RAW, Cid

BLOCK = b"a block"
CID = Cid.of(RAW, BLOCK)

MAKERS: dict[str, Callable[[Path], BlockStore]] = {
    "memory": lambda _folder: MemoryBlocks(max_block_bytes=100),
    "local": lambda folder: DirectoryBlocks(folder / "blocks", max_block_bytes=100),
}


@pytest.fixture(params=sorted(MAKERS))
def blocks(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    return MAKERS[request.param](tmp_path)


def test_a_block_comes_back(blocks: BlockStore) -> None:
    blocks.put(CID, BLOCK)
    blocks.put(CID, BLOCK)
    assert blocks.get(CID) == BLOCK
    assert blocks.has(CID)


def test_an_empty_block_is_a_block(blocks: BlockStore) -> None:
    blocks.put(Cid.of(RAW, b""), b"")
    assert blocks.get(Cid.of(RAW, b"")) == b""


def test_a_missing_block_is_unavailable(blocks: BlockStore) -> None:
    assert not blocks.has(CID)
    with pytest.raises(UnavailableError) as caught:
        blocks.get(CID)
    assert caught.value.code == "block_missing"


def test_the_codec_is_part_of_the_name(blocks: BlockStore) -> None:
    blocks.put(CID, BLOCK)
    assert not blocks.has(Cid(DAG_CBOR, CID.digest))


def test_a_block_under_a_wrong_name_is_refused(blocks: BlockStore) -> None:
    with pytest.raises(InvalidError) as caught:
        blocks.put(CID, b"another block")
    assert caught.value.code == "block_corrupt"
    assert not blocks.has(CID)


def test_a_block_that_is_too_large_is_refused(blocks: BlockStore) -> None:
    large = bytes(101)
    with pytest.raises(LimitError) as caught:
        blocks.put(Cid.of(RAW, large), large)
    assert caught.value.code == "block_oversize"
    blocks.put(Cid.of(RAW, large[1:]), large[1:])


def test_memory_is_checked_when_it_is_read() -> None:
    blocks = MemoryBlocks()
    blocks.blocks[CID] = b"a bl0ck"
    with pytest.raises(InvalidError) as caught:
        blocks.get(CID)
    assert caught.value.code == "block_corrupt"


def test_checked_gives_the_block_or_says_why_not() -> None:
    assert checked(CID, BLOCK) == BLOCK
    with pytest.raises(InvalidError):
        checked(CID, BLOCK + b"\0")
    with pytest.raises(LimitError):
        checked(CID, BLOCK, max_bytes=len(BLOCK) - 1)
