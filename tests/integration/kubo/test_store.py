"""Proofs pinned in a real Kubo, fetched from it by another one, and read by us from Kubo's own gateway."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import GatewayReader
from proof_store.kubo import KuboStore
from proof_store.kubo_rpc import KuboRpc
from proof_store.reader import read_directory
from tests.integration.kubo.daemon import Daemon, running
from tests.integration.proof_store.serving import served

pytestmark = pytest.mark.timeout(180)

LAYOUT = [
    "--cid-version=1",
    "--hash=sha2-256",
    "--raw-leaves=true",
    "--chunker=size-262144",
    "--max-file-links=174",
    "--max-directory-links=0",
    "--trickle=false",
    "--inline=false",
    "--preserve-mode=false",
    "--preserve-mtime=false",
]


def files_of(seed: str, sizes: dict[str, int]) -> dict[str, bytes]:
    return {name: hashlib.shake_128(f"{seed}/{name}".encode()).digest(size) for name, size in sizes.items()}


def package(seed: str) -> tuple[Cid, MemoryBlocks, dict[str, bytes]]:
    """A package without an empty file: Kubo does not send an empty block by bitswap, whoever made it (docs/stores.md)."""
    files = files_of(seed, {"journal.jsonl": 700_001, "output.json": 17, "artifacts/ünï ☃.bin": 262_144})
    blocks = MemoryBlocks()
    return build_directory(files, blocks).cid, blocks, files


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
async def store(ours: Daemon) -> AsyncIterator[KuboStore]:
    found = KuboStore(KuboRpc(ours.rpc))
    yield found
    await found.close()


async def test_a_package_is_pinned_and_read_back_by_the_gateway(store: KuboStore, ours: Daemon) -> None:
    root, blocks, _ = package("pinned")
    await store.pin(root, blocks)
    await store.pin(root, blocks)
    assert await store.is_pinned(root)
    found = await store.read_back(root)
    assert found.path == f"gateway {ours.gateway}"
    assert (found.blocks, found.size) == (len(blocks.blocks), sum(map(len, blocks.blocks.values())))
    assert "Kubo 0." in await store.state()
    assert ours.ipfs("pin", "ls", "--type=recursive", "-q").decode().split().count(str(root)) == 1


async def test_ipfs_get_from_a_kubo_that_never_saw_our_code(store: KuboStore, theirs: Daemon, tmp_path: Path) -> None:
    root, blocks, files = package("fetched")
    await store.pin(root, blocks)
    theirs.ipfs("get", "-o", str(tmp_path / "got"), str(root))
    assert read_folder(tmp_path / "got") == files


async def test_what_a_kubo_added_is_read_by_us_from_its_gateway(ours: Daemon, theirs: Daemon, tmp_path: Path) -> None:
    files = files_of("theirs", {"a.bin": 3_000_000, "sub/b": 5, "sub/ünï": 262_145})
    folder = write_folder(tmp_path / "files", files)
    root = Cid.parse(theirs.ipfs("add", "-r", "-Q", *LAYOUT, str(folder)).decode().strip())
    assert root == build_directory(files, MemoryBlocks()).cid
    reader = GatewayReader(ReaderSettings(allow_private=True))
    # From its own gateway, and through the other daemon, which has to fetch it by bitswap first.
    for gateway in (theirs.gateway, ours.gateway):
        assert read_directory(root, await reader.fetch(root, [gateway])) == files


async def test_a_kubo_imports_the_car_that_our_gateway_serves(theirs: Daemon, tmp_path: Path) -> None:
    import httpx

    root, blocks, files = package("by car")
    async with served(create_gateway(blocks, GatewaySettings())) as url, httpx.AsyncClient(trust_env=False) as http:
        car = (await http.get(f"{url}/ipfs/{root}?format=car")).content
    theirs.ipfs("dag", "import", content=car)
    theirs.ipfs("get", "-o", str(tmp_path / "got"), f"/ipfs/{root}")
    assert read_folder(tmp_path / "got") == files
    assert theirs.ipfs("dag", "export", "--progress=false", str(root)) == car


async def test_what_was_unpinned_is_not_kept(store: KuboStore) -> None:
    root, blocks, _ = package("unpinned")
    await store.pin(root, blocks)
    await store.unpin([root])
    await store.unpin([root])
    with pytest.raises(UnavailableError) as caught:
        await store.read_back(root)
    assert caught.value.code == "pin_gone"


async def test_a_block_that_is_lost_is_noticed(store: KuboStore, ours: Daemon) -> None:
    root, blocks, _ = package("lost")
    await store.pin(root, blocks)
    leaf = next(cid for cid in blocks.blocks if cid.codec == 0x55)
    lost = [path for path in (ours.repo / "blocks").rglob("*.data") if path.read_bytes() == blocks.blocks[leaf]]
    assert len(lost) == 1
    lost[0].unlink()
    with pytest.raises(UnavailableError) as caught:
        await store.read_back(root)
    assert caught.value.code in ("pin_gone", "gateway_failed")
    await store.pin(root, blocks)
    await store.read_back(root)


async def test_a_tree_with_a_hole_is_not_pinned(store: KuboStore) -> None:
    root, blocks, _ = package("hole")
    del blocks.blocks[next(cid for cid in blocks.blocks if cid.codec == 0x55)]
    with pytest.raises(UnavailableError) as caught:
        await store.pin(root, blocks)
    assert caught.value.code == "block_missing"
    assert not await store.is_pinned(root)


async def test_without_a_gateway_the_rpc_reads_back(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path / "bare") as bare:
        bare.stop()
        bare.ipfs("config", "--json", "Addresses.Gateway", "null")
        bare.start()
        store = KuboStore(KuboRpc(bare.rpc))
        root, blocks, _ = package("bare")
        await store.pin(root, blocks)
        assert (await store.read_back(root)).path == f"block/get of {bare.rpc}"
        bare.stop()
        with pytest.raises(UnavailableError) as caught:
            await store.read_back(root)
        assert caught.value.code == "kubo_silent"
        await store.close()
