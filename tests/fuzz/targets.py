"""What is fuzzed: every reader of a stranger's bytes, with what must hold whatever they are. `make test` draws by hypothesis,
`make fuzz` searches by coverage.

A target returns, or it fails: errors of the OrcaError family are a reader's way to say no, all others are mistakes of ours.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from orca_protocol.errors import OrcaError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.car import read_car, write_car
from proof_store.car_stream import car_sections
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.limits import Budget, CarLimits, ReadLimits
from proof_store.reader import open_block, read_directory, read_file
from proof_store.unixfs import Kind, decode_data, encode_data

CAR = CarLimits(total_bytes=1_000_000, block_bytes=100_000, blocks=1_000)
TREE = ReadLimits(total_bytes=1_000_000, files=100, depth=16, block_bytes=100_000, links=1_000)


def car(data: bytes) -> None:
    """A CAR is read whole or refused; what was read is what its names say, and is written again as a CAR that reads the same."""
    blocks = MemoryBlocks()
    with suppress(OrcaError):
        root = read_car(io.BytesIO(data), blocks, CAR)
        sink, again = io.BytesIO(), MemoryBlocks()
        write_car(root, blocks, sink, CAR)
        assert read_car(io.BytesIO(sink.getvalue()), again, CAR) == root
        assert again.blocks.items() <= blocks.blocks.items()
        read_directory(root, blocks, TREE)
    assert all(Cid.of(cid.codec, block) == cid for cid, block in blocks.blocks.items())


def car_stream(data: bytes) -> None:
    """A gateway's CAR, in pieces of odd sizes, gives sound blocks only, and no others than the whole one."""

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(data), 7):
            yield data[place : place + 7]

    async def read() -> None:
        async for cid, block in car_sections(pieces(), block_bytes=100_000):
            assert Cid.of(cid.codec, block) == cid

    with suppress(OrcaError):
        asyncio.run(read())


def dag_pb_block(data: bytes) -> None:
    """A node has one spelling."""
    with suppress(OrcaError):
        node = dag_pb.decode(data)
        assert dag_pb.encode(node) == data


def unixfs_node(data: bytes) -> None:
    """So has what it says of itself, for any number of links."""
    for links in (0, 1, 2, 174):
        with suppress(OrcaError):
            found = decode_data(data, links=links)
            assert encode_data(found) == data
            assert found.kind is Kind.FILE or not found.blocksizes


def tree_block(data: bytes) -> None:
    """A block is opened as it stands in a tree, and a file of it alone is read, or both are refused."""
    for cid in (Cid.of(DAG_PB, data), Cid.of(RAW, data)):
        with suppress(OrcaError):
            open_block(cid, data, len(data), Budget(TREE))
        blocks = MemoryBlocks()
        blocks.blocks[cid] = data
        with suppress(OrcaError):
            assert len(read_file(cid, blocks, TREE)) <= TREE.total_bytes


TARGETS: dict[str, Callable[[bytes], None]] = {
    "car": car,
    "car_stream": car_stream,
    "dag_pb": dag_pb_block,
    "unixfs": unixfs_node,
    "tree": tree_block,
}
