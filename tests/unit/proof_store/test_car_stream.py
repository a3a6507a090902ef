from __future__ import annotations

import io
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.car import read_car, write_car
from proof_store.car_stream import car_sections
from proof_store.cid import Cid
from proof_store.unixfs import Layout

BLOCKS = MemoryBlocks()
ROOT = build_directory({"a": b"0123456789" * 20, "b/c": b"", "d": b"x"}, BLOCKS, Layout(chunk_bytes=60, links_per_node=3)).cid


def car() -> bytes:
    sink = io.BytesIO()
    write_car(ROOT, BLOCKS, sink)
    return sink.getvalue()


CAR = car()


async def received(data: bytes, sizes: list[int]) -> list[tuple[Cid, bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        place, turn = 0, 0
        while place < len(data):
            size = sizes[turn % len(sizes)]
            yield data[place : place + size]
            place, turn = place + size, turn + 1

    return [section async for section in car_sections(chunks(), block_bytes=1000)]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5))
async def test_chunks_of_any_size_give_the_same_blocks(sizes: list[int]) -> None:
    got = await received(CAR, sizes)
    assert dict(got) == BLOCKS.blocks
    assert len(got) == len(BLOCKS.blocks)


@given(st.integers(0, len(CAR) - 1), st.integers(1, 255))
async def test_a_changed_byte_never_gives_a_block_that_is_not_there(place: int, change: int) -> None:
    changed = CAR[:place] + bytes((CAR[place] ^ change,)) + CAR[place + 1 :]
    try:
        got = await received(changed, [64])
    except UnavailableError as error:
        assert error.code.startswith("gateway_")
        return
    assert all(BLOCKS.blocks.get(cid, block) == block and Cid.of(cid.codec, block) == cid for cid, block in got)


@given(st.integers(0, len(CAR) - 1))
async def test_a_cut_gives_fewer_blocks_or_an_error(place: int) -> None:
    try:
        got = await received(CAR[:place], [64])
    except UnavailableError:
        return
    assert len(got) < len(BLOCKS.blocks)


@given(st.binary(max_size=300))
async def test_any_bytes_are_a_car_or_the_gateways_fault(data: bytes) -> None:
    try:
        await received(data, [7])
    except UnavailableError as error:
        assert error.code.startswith("gateway_")


async def test_what_the_strict_reader_takes_is_taken_here() -> None:
    again = MemoryBlocks()
    assert read_car(io.BytesIO(CAR), again) == ROOT
    assert again.blocks == dict(await received(CAR, [10]))
