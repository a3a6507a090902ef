"""The devnet's clock goes on when everybody has done what the slot asks of them, and never before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from koii_chain.client import ChainClient
from koii_chain.rpc import Answer, JsonRpc, RpcSettings
from orca.devnet.conductor import Conductor, Quiet, quiet_at
from orca_protocol.errors import OrcaError, UnavailableError


class Rpc(JsonRpc):
    """A devnet's own methods."""

    def __init__(self) -> None:
        super().__init__(RpcSettings(("http://127.0.0.1:1",)))
        self.slot, self.records = 10, 0
        self.advanced: list[int] = []
        self.errors: list[OrcaError] = []
        #: transactions that come in when it is asked so many times
        self.busy_for = 0

    async def call(self, method: str, params: list[Any]) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        if method == "devnet_advance":
            self.slot += params[0]
            self.advanced.append(self.slot)
            return Answer(self.slot, None)
        if self.busy_for:
            self.busy_for -= 1
            self.records += 1
        return Answer({"mint": "m", "slot": self.slot, "records": self.records, "digest": "d"}, None)


class Node:
    """A node that looks whenever it is asked, and says what its attributes say."""

    def __init__(self, rpc: Rpc, *, following: int = 40) -> None:
        self.rpc, self.following = rpc, following
        self.has_ended = False
        self.busy: list[str] = []
        self.looks = 0
        self.is_looking = True
        self.slot: int | None = None
        self.error: OrcaError | None = None
        self.asked = 0

    async def status(self) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.is_looking:
            self.looks += 1
            self.slot = self.rpc.slot
        following = self.following if self.following > self.rpc.slot else self.rpc.slot + 100
        return {"key": "k", "looks": self.looks, "slot": self.slot, "next_slot": following, "busy": self.busy}


class Scene:
    def __init__(self) -> None:
        self.rpc = Rpc()
        self.nodes = [Node(self.rpc), Node(self.rpc, following=30)]
        self.may_go = True
        self.conductor = Conductor(ChainClient(self.rpc), lambda: list(self.nodes), self._may_go, pause=0.001)

    async def _may_go(self) -> bool:
        return self.may_go

    @asynccontextmanager
    async def conducting(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.conductor.serve())
        try:
            yield
            assert not serving.done()
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def until_advanced(self) -> int:
        async with asyncio.timeout(5):
            while not self.rpc.advanced:
                await asyncio.sleep(0.001)
        return self.rpc.advanced[0]

    async def stands_still(self) -> None:
        """Give the conductor many turns, in which it must not advance."""
        asked = self.nodes[0].asked
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert self.rpc.advanced == []
        assert self.nodes[0].has_ended or self.nodes[0].asked > asked


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_the_clock_goes_to_the_next_slot_at_which_anybody_may_have_something_to_do(scene: Scene) -> None:
    async with scene.conducting():
        assert await scene.until_advanced() == 30


@pytest.mark.parametrize("node", [0, 1])
async def test_it_waits_for_who_is_busy_and_says_so(scene: Scene, node: int) -> None:
    scene.nodes[node].busy = ["audit round 5"]
    async with scene.conducting():
        await scene.stands_still()
        assert scene.conductor.waits_for == "k: audit round 5"
        scene.nodes[node].busy = []
        assert await scene.until_advanced() == 30


async def test_it_waits_for_who_speaks_of_another_slot(scene: Scene) -> None:
    late = scene.nodes[1]
    late.is_looking, late.slot, late.looks = False, 9, 5
    async with scene.conducting():
        await scene.stands_still()
        assert scene.conductor.waits_for == "k: a look at slot 10"


async def test_it_waits_until_everybody_has_looked_once_more(scene: Scene) -> None:
    stale = scene.nodes[1]
    stale.is_looking, stale.slot, stale.looks = False, 10, 5
    async with scene.conducting():
        await scene.stands_still()
        stale.is_looking = True
        assert await scene.until_advanced() == 30


async def test_it_waits_while_the_chain_takes_something_new(scene: Scene) -> None:
    scene.rpc.busy_for = 20
    async with scene.conducting():
        await scene.until_advanced()
    assert scene.rpc.busy_for == 0
    assert scene.nodes[0].looks >= 20, "everybody looked again after each"


async def test_it_waits_for_who_does_not_answer(scene: Scene) -> None:
    scene.nodes[1].error = UnavailableError("node_silent", "node2 does not answer")
    async with scene.conducting():
        await scene.stands_still()
        assert scene.conductor.waits_for == "node2 does not answer"


async def test_nobody_waits_for_the_dead(scene: Scene) -> None:
    dead = scene.nodes[1]
    dead.has_ended, dead.error = True, UnavailableError("node_silent", "dead")
    async with scene.conducting():
        assert await scene.until_advanced() == 40
    assert dead.asked == 0


async def test_where_nobody_lives_the_clock_stands(scene: Scene) -> None:
    for node in scene.nodes:
        node.has_ended = True
    async with scene.conducting():
        await scene.stands_still()


async def test_the_clock_is_held_while_it_may_not_go(scene: Scene) -> None:
    scene.may_go = False
    async with scene.conducting():
        await scene.stands_still()
        scene.may_go = True
        assert await scene.until_advanced() == 30


async def test_a_chain_that_starts_anew_is_waited_for(scene: Scene) -> None:
    scene.rpc.errors = [UnavailableError("rpc_down", "no endpoint answered")] * 3
    async with scene.conducting():
        assert await scene.until_advanced() == 30


@pytest.mark.parametrize(
    ("status", "quiet"),
    [
        ({"looks": 3, "slot": 7, "next_slot": 9, "busy": []}, Quiet(3, 9)),
        ({"looks": 3, "slot": 6, "next_slot": 9, "busy": []}, None),
        ({"looks": 3, "slot": 7, "next_slot": 9, "busy": ["x"]}, None),
        ({"looks": 0, "slot": None, "next_slot": None, "busy": []}, None),
        ({"looks": True, "slot": 7, "next_slot": 9, "busy": []}, None),
        ({"looks": 3, "slot": 7, "next_slot": "9", "busy": []}, None),
        ({}, None),
    ],
)
def test_a_status_is_quiet_or_it_is_not(status: dict[str, Any], quiet: Quiet | None) -> None:
    assert quiet_at(status, 7) == quiet
