"""The same bytes get the same CID in a live Kubo: edges of chunks and links, sizes that hypothesis draws, any names, CARs."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory, build_file
from proof_store.car import read_car, write_car
from proof_store.names import check_part, tree_of
from proof_store.reader import read_directory
from proof_store.unixfs import Layout
from tests.integration.kubo.daemon import Daemon
from tests.integration.kubo.test_store import LAYOUT, read_folder, write_folder

pytestmark = pytest.mark.timeout(300)

CHUNK, LINKS = 262_144, 174
EDGES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, LINKS * CHUNK - 1, LINKS * CHUNK, LINKS * CHUNK + 1, 60 * 1024 * 1024]


def content(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


def cid_in_kubo(kubo: Daemon, data: bytes, layout: Layout) -> str:
    """Add a file as the contract says, every parameter named, without keeping it."""
    query = {
        "only-hash": "true",
        "cid-version": "1",
        "hash": "sha2-256",
        "raw-leaves": "true",
        "chunker": f"size-{layout.chunk_bytes}",
        "max-file-links": str(layout.links_per_node),
        "trickle": "false",
        "inline": "false",
        "preserve-mode": "false",
        "preserve-mtime": "false",
        "progress": "false",
    }
    answer = httpx.post(f"{kubo.rpc}/api/v0/add", params=query, files={"file": data}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(json.loads(answer.text.splitlines()[-1])["Hash"])


@pytest.mark.parametrize("size", EDGES)
def test_files_at_the_edges(ours: Daemon, size: int) -> None:
    layout, data = Layout(), content(size)
    assert str(build_file(data, MemoryBlocks(), layout).cid) == cid_in_kubo(ours, data, layout)


@settings(max_examples=60)
@given(st.integers(0, 40_000), st.sampled_from([(64, 2), (100, 3), (1000, 174), (257, 5)]))
@example(64 * 2**6, (64, 2))
@example(64 * 2**6 + 1, (64, 2))
@example(100 * 3**4 - 1, (100, 3))
def test_files_of_any_size_and_depth(ours: Daemon, size: int, cut: tuple[int, int]) -> None:
    layout, data = Layout(*cut), content(size)
    assert str(build_file(data, MemoryBlocks(), layout).cid) == cid_in_kubo(ours, data, layout)


def is_name(name: str) -> bool:
    try:
        check_part(name)
    except InvalidError:
        return False
    return True


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(is_name)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


def is_tree(files: dict[str, bytes]) -> bool:
    try:
        tree_of(files)
    except InvalidError:
        return False
    return True


@settings(max_examples=15)
@given(files=st.dictionaries(paths, st.binary(max_size=50), min_size=1, max_size=8).filter(is_tree))
@example(
    files={"ä": b"composed", "a\u0308": b"decomposed", "日本/☃.txt": b"snow", ".hidden": b"x", "Z": b"", "a": b"1", "a b": b"2"}
)
def test_folders_with_any_names(ours: Daemon, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = write_folder(tmp_path_factory.mktemp("folder") / "f", files)
    theirs = ours.ipfs("add", "-r", "-Q", "--hidden", "--only-hash", *LAYOUT, str(folder)).decode().strip()
    assert str(build_directory(files, MemoryBlocks()).cid) == theirs


def test_a_folder_of_as_many_entries_as_are_allowed(ours: Daemon, tmp_path: Path) -> None:
    files = {f"file-{number:04}": str(number).encode() for number in range(1000)}
    folder = write_folder(tmp_path / "f", files)
    theirs = ours.ipfs("add", "-r", "-Q", *LAYOUT, str(folder)).decode().strip()
    blocks = MemoryBlocks()
    root = build_directory(files, blocks).cid
    assert str(root) == theirs
    car = ours.ipfs("dag", "export", "--progress=false", theirs)
    sink = io.BytesIO()
    write_car(root, blocks, sink)
    assert sink.getvalue() == car


def test_cars_go_to_kubo_and_come_back(ours: Daemon, tmp_path: Path) -> None:
    files = {"journal.jsonl": content(600_000), "sub/ünï": b"x", "output.json": b"{}"}
    blocks, sink = MemoryBlocks(), io.BytesIO()
    root = build_directory(files, blocks).cid
    write_car(root, blocks, sink)
    ours.ipfs("dag", "import", content=sink.getvalue())
    ours.ipfs("get", "-o", str(tmp_path / "got"), str(root))
    assert read_folder(tmp_path / "got") == files
    into = MemoryBlocks()
    assert read_car(io.BytesIO(ours.ipfs("dag", "export", "--progress=false", str(root))), into) == root
    assert read_directory(root, into) == files
