"""A price is paid once, however often it is asked to be, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from koii_chain.client import ChainClient
from koii_chain.devnet.chain import BLOCKHASH_SLOTS
from koii_chain.devnet.server import answer_to
from koii_chain.rpc import JsonRpc, RpcSettings
from orca.funding import fund
from orca_protocol.errors import InvalidError, UnavailableError
from tests.fakes.rpc_endpoint import RpcEndpoint
from tests.unit.koii_chain.devnets import Devnet

PRICE = 1000
ITEM = "0b6a41d4-5b0e-4b4e-8a53-1d2f3c4b5a69"


class Scene:
    """A devnet behind an endpoint that may lose what it is sent, or its answer."""

    def __init__(self, folder: Path) -> None:
        self.net = Devnet(folder / "chain").start(funded=1)
        self.endpoint = RpcEndpoint()
        self.endpoint._answer = self._answer  # type: ignore[method-assign]
        self.folder = folder / "funded"
        #: what becomes of the next transaction: ``lost`` before it is taken, or ``unheard`` after it was
        self.fault: str | None = None
        self.sent = 0

    def _answer(self, request: dict[str, Any]) -> bytes:
        if request["method"] == "sendTransaction":
            self.sent += 1
            if self.fault == "lost":
                return b"{"
            if self.fault == "unheard":
                answer_to(self.net.chain, json.dumps(request).encode())
                return b"{"
        if request["method"] == "getSignatureStatuses" and self.fault == "unheard":
            return b"{"
        return answer_to(self.net.chain, json.dumps(request).encode()) or b""

    async def pay(self, item: str = ITEM) -> str:
        client = ChainClient(JsonRpc(RpcSettings((self.endpoint.address,))))
        try:
            return await fund(client, self.net.requester.main, self.net.task_id, PRICE, item, self.folder)
        finally:
            await client.close()

    @property
    def paid(self) -> int:
        return self.net.tokens(self.net.requester.main_key)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    async with made.endpoint.running():
        yield made


async def test_a_price_is_paid_once_for_each_item(scene: Scene) -> None:
    before = scene.paid
    first = await scene.pay()
    assert scene.paid == before - PRICE
    scene.net.chain.advance(BLOCKHASH_SLOTS + 10)
    assert await scene.pay() == first
    assert (scene.paid, scene.sent) == (before - PRICE, 1)
    assert await scene.pay("another") != first
    assert scene.paid == before - 2 * PRICE


async def test_a_payment_whose_answer_was_lost_is_found_and_not_made_again(scene: Scene) -> None:
    before = scene.paid
    scene.fault = "unheard"
    with pytest.raises((InvalidError, UnavailableError)):
        await scene.pay()
    assert scene.paid == before - PRICE
    scene.fault = None
    scene.net.chain.advance(BLOCKHASH_SLOTS + 10)
    signature = await scene.pay()
    assert signature in scene.net.chain.transactions
    assert scene.paid == before - PRICE


async def test_a_payment_that_never_arrived_is_the_same_bytes_again_while_those_are_good(scene: Scene) -> None:
    before = scene.paid
    scene.fault = "lost"
    with pytest.raises((InvalidError, UnavailableError)):
        await scene.pay()
    (kept,) = scene.folder.iterdir()
    raw = kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    scene.fault = None
    await scene.pay()
    assert (scene.paid, kept.read_bytes()) == (before - PRICE, raw)


@pytest.mark.parametrize("what", ["over", "cut off"])
async def test_a_payment_that_can_never_arrive_is_made_anew(scene: Scene, what: str) -> None:
    before = scene.paid
    scene.fault = "lost"
    with pytest.raises((InvalidError, UnavailableError)):
        await scene.pay()
    (kept,) = scene.folder.iterdir()
    raw = kept.read_bytes()
    if what == "over":
        scene.net.chain.advance(BLOCKHASH_SLOTS + 10)
    else:
        kept.write_bytes(raw[:100])
    scene.fault = None
    await scene.pay()
    assert scene.paid == before - PRICE


async def test_of_two_at_once_one_pays_and_the_other_is_told(scene: Scene) -> None:
    before = scene.paid
    said = await asyncio.gather(scene.pay(), scene.pay(), return_exceptions=True)
    (busy,) = [one for one in said if isinstance(one, UnavailableError)]
    assert busy.code == "funding_busy"
    assert await scene.pay() in said
    assert scene.paid == before - PRICE
