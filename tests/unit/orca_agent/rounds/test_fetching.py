"""Where a peer's tree comes from: real gateways on loopback, a middle server that says whose they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orca_agent.rounds.fetching import PeerFetcher
from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import GatewayReader
from proof_store.reader import read_directory
from tests.unit.orca_agent.rounds.claims import QuietMiddle, settings
from tests.unit.orca_agent.rounds.serving import served

FILES = {"a.txt": b"one", "folder/b.txt": b"two"}
AWAY = "http://127.0.0.1:9"


def shelf(files: dict[str, bytes] = FILES) -> tuple[MemoryBlocks, Cid]:
    blocks = MemoryBlocks()
    return blocks, build_directory(files, blocks).cid


BLOCKS, CID = shelf()


@asynccontextmanager
async def gateway(blocks: MemoryBlocks = BLOCKS) -> AsyncIterator[str]:
    async with served(create_gateway(blocks, GatewaySettings())) as url:
        yield url


def fetcher(middle: QuietMiddle, own: MemoryBlocks | None = None, **changed: Any) -> PeerFetcher:
    reader = GatewayReader(ReaderSettings(allow_private=True, gateway_seconds=5.0))
    return PeerFetcher(settings(**changed), own or MemoryBlocks(), middle, reader)


async def test_what_is_here_whole_is_not_fetched() -> None:
    middle = QuietMiddle()
    assert await fetcher(middle, BLOCKS).fetch(CID, "owner") is BLOCKS
    assert middle.asked == 0


async def test_what_is_here_in_part_is_fetched() -> None:
    part = MemoryBlocks()
    part.put(CID, BLOCKS.get(CID))
    middle = QuietMiddle()
    async with gateway() as url:
        middle.gateways = [{"owner": url}]
        assert read_directory(CID, await fetcher(middle, part).fetch(CID, "owner")) == FILES


@pytest.mark.parametrize("whose", ["owner", "peer", "operator"])
async def test_it_comes_from_its_owner_from_a_peer_or_from_the_operators_list(whose: str) -> None:
    middle = QuietMiddle()
    async with gateway() as url:
        middle.gateways = [{name: url if name == whose else AWAY for name in ("owner", "peer")}]
        listed = (url,) if whose == "operator" else (AWAY,)
        found = await fetcher(middle, gateways=listed).fetch(CID, "owner")
    assert read_directory(CID, found) == FILES


async def test_the_owner_is_asked_first_then_the_operators_list_then_others_and_oneself_never() -> None:
    middle = QuietMiddle()
    own = "http://127.0.0.1:7"
    middle.gateways = [{"owner": AWAY, "other": "http://127.0.0.1:5", "me": own}]
    with pytest.raises(UnavailableError, match="data_unavailable") as failed:
        await fetcher(middle, gateway=own, gateways=("http://127.0.0.1:6", AWAY)).fetch(CID, "owner")
    places = [failed.value.detail.find(f"127.0.0.1:{port}") for port in (9, 6, 5)]
    assert -1 not in places
    assert places == sorted(places)
    assert "127.0.0.1:7" not in failed.value.detail


async def test_an_owner_that_moved_is_found_again() -> None:
    middle = QuietMiddle()
    async with gateway() as url:
        middle.gateways = [{"owner": AWAY}, {"owner": url}]
        assert read_directory(CID, await fetcher(middle).fetch(CID, "owner")) == FILES
    assert middle.asked == 2


async def test_gateways_are_remembered_while_they_give() -> None:
    middle, (more, second) = QuietMiddle(), shelf({"c.txt": b"three"})
    both = MemoryBlocks()
    both.blocks = BLOCKS.blocks | more.blocks
    async with gateway(both) as url:
        middle.gateways = [{"owner": url}]
        made = fetcher(middle)
        await made.fetch(CID, "owner")
        await made.fetch(second, "owner")
        assert middle.asked == 1
        await made.fetch(CID, "newcomer")
        assert middle.asked == 2


async def test_without_a_middle_server_the_operators_list_is_left() -> None:
    middle = QuietMiddle()
    middle.error = UnavailableError("middle_server_unavailable", "away")
    async with gateway() as url:
        found = await fetcher(middle, gateways=(url,)).fetch(CID, "owner")
    assert read_directory(CID, found) == FILES


async def test_what_nobody_has_is_unavailable() -> None:
    async with gateway(MemoryBlocks()) as url:
        middle = QuietMiddle()
        middle.gateways = [{"owner": url}]
        with pytest.raises(UnavailableError, match="data_unavailable"):
            await fetcher(middle).fetch(CID, "owner")
