"""A node's own folder as a store: read back from disk or through its gateway, and what goes when a proof goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orca_protocol.errors import UnavailableError
from proof_store.blocks import DirectoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import RAW, Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.local import LocalStore
from proof_store.reader import read_directory
from tests.integration.proof_store.serving import served

SHARED = {"spec.json": b"the same spec", "sub/shared": b"in a folder"}


@pytest.fixture
def blocks(tmp_path: Path) -> DirectoryBlocks:
    return DirectoryBlocks(tmp_path / "blocks")


def proof(blocks: DirectoryBlocks, text: str) -> Cid:
    return build_directory({**SHARED, "output.json": text.encode()}, blocks).cid


async def test_it_is_read_back_through_the_gateway_as_a_peer_reads_it(blocks: DirectoryBlocks) -> None:
    root = proof(blocks, "one")
    async with served(create_gateway(blocks, GatewaySettings())) as url:
        store = LocalStore(blocks, gateway=url)
        await store.pin(root, blocks)
        found = await store.read_back(root)
        assert (found.blocks, found.path) == (5, f"gateway {url}")
        assert url in await store.state()
        blocks.remove(Cid.of(RAW, b"one"), unused_for=0)
        with pytest.raises(UnavailableError) as caught:
            await store.read_back(root)
        assert caught.value.code == "pin_gone"
        await store.close()


async def test_a_damaged_block_is_gone(blocks: DirectoryBlocks) -> None:
    root = proof(blocks, "one")
    store = LocalStore(blocks)
    assert (await store.read_back(root)).path.startswith("disk ")
    next(path for path in blocks.path.rglob("*.block") if path.read_bytes() == b"one").write_bytes(b"two")
    with pytest.raises(UnavailableError) as caught:
        await store.read_back(root)
    assert caught.value.code == "pin_gone"


async def test_what_another_tree_needs_stays(blocks: DirectoryBlocks) -> None:
    old, young = proof(blocks, "old"), proof(blocks, "young")
    before = set(blocks.cids())
    store = LocalStore(blocks, unused_for=0)
    await store.unpin([old])
    assert before - set(blocks.cids()) == {old, Cid.of(RAW, b"old")}
    assert read_directory(young, blocks)["spec.json"] == b"the same spec"
    await store.unpin([old, young])
    assert set(blocks.cids()) == set()


async def test_an_end_that_was_interrupted_is_finished(blocks: DirectoryBlocks) -> None:
    root = proof(blocks, "old")
    blocks.remove(Cid.of(RAW, b"old"), unused_for=0)
    blocks.remove(Cid.of(RAW, b"in a folder"), unused_for=0)
    await LocalStore(blocks, unused_for=0).unpin([root])
    assert set(blocks.cids()) == set()


async def test_what_was_just_put_stays(blocks: DirectoryBlocks) -> None:
    root = proof(blocks, "old")
    for path in blocks.path.rglob("*.block"):
        os.utime(path, (time.time() - 7200,) * 2)
    blocks.put(Cid.of(RAW, b"the same spec"), b"the same spec")  # somebody begins another tree and finds it here
    await LocalStore(blocks).unpin([root])
    assert set(blocks.cids()) == {Cid.of(RAW, b"the same spec")}
