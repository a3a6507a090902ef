"""The same bytes get the same CIDs, sizes and CAR as in Kubo: tests/vectors/cids.json was made by Kubo itself."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory, build_file, root_of
from proof_store.car import read_car, write_car
from proof_store.car_stream import car_sections
from proof_store.reader import read_directory, read_file
from proof_store.unixfs import Layout

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "cids.json").read_text("utf-8"))
FILES = [
    pytest.param(Layout(layout["chunk_bytes"], layout["links_per_node"]), file, id=file["seed"])
    for layout in VECTORS["layouts"]
    for file in layout["files"]
]


def content(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


@pytest.mark.parametrize(("layout", "file"), FILES)
def test_files(layout: Layout, file: dict[str, Any]) -> None:
    data, blocks = content(file["seed"], file["size"]), MemoryBlocks()
    built = build_file(data, blocks, layout)
    assert str(built.cid) == file["cid"]
    assert built.size == len(data)
    assert read_file(built.cid, blocks) == data


@pytest.mark.parametrize("directory", VECTORS["directories"], ids=lambda directory: directory["name"])
def test_directories(directory: dict[str, Any]) -> None:
    files = {name: content(f"{directory['name']}/{name}", size) for name, size in directory["sizes"].items()}
    blocks = MemoryBlocks()
    built = build_directory(files, blocks)
    assert (str(built.cid), built.tsize) == (directory["cid"], directory["tsize"])
    assert built.size == sum(directory["sizes"].values())
    assert read_directory(built.cid, blocks) == files
    assert root_of(files) == built.cid


def test_the_car_is_the_one_that_kubo_exports() -> None:
    vector, blocks, sink = VECTORS["car"], MemoryBlocks(), io.BytesIO()
    files = {name: text.encode() for name, text in vector["files"].items()}
    root = build_directory(files, blocks).cid
    write_car(root, blocks, sink)
    assert sink.getvalue() == base64.b64decode(vector["base64"])


def test_a_car_from_kubo_is_read() -> None:
    vector, blocks = VECTORS["car"], MemoryBlocks()
    root = read_car(io.BytesIO(base64.b64decode(vector["base64"])), blocks)
    assert str(root) == vector["cid"]
    assert read_directory(root, blocks) == {name: text.encode() for name, text in vector["files"].items()}


async def test_a_car_from_kubo_is_read_while_it_arrives() -> None:
    vector, strict = VECTORS["car"], MemoryBlocks()
    data = base64.b64decode(vector["base64"])
    read_car(io.BytesIO(data), strict)

    async def chunks() -> AsyncIterator[bytes]:
        for place in range(0, len(data), 100):
            yield data[place : place + 100]

    assert {cid: block async for cid, block in car_sections(chunks(), block_bytes=1_048_576)} == strict.blocks
