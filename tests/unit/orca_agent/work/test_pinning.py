"""Proofs kept in several stores over a real PostgreSQL: taken up, pinned, read back, tried again, noticed when gone, collected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from orca_agent.store.database import parameters
from orca_agent.store.pins import PinRecords
from orca_agent.work.pinning import Pinning
from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.pinning import PinPolicy
from tests.fakes.pin_store import FakePinStore

POLICY = PinPolicy(retention=timedelta(days=30))


class Scene:
    """A node's pinning, with a clock that the test winds."""

    def __init__(self, url: str, records: PinRecords) -> None:
        self.url, self.records, self.blocks = url, records, MemoryBlocks()
        self.local, self.kubo = FakePinStore(), FakePinStore()
        self.now = datetime.now(UTC)
        self.pinning = Pinning(records, {"local": self.local, "kubo": self.kubo}, self.blocks, POLICY, clock=lambda: self.now)

    def proof(self, text: str) -> str:
        return str(build_directory({"output.json": text.encode(), "spec.json": b"the same in all"}, self.blocks).cid)

    async def execute(self, sql: str, *values: object) -> None:
        async with await psycopg.AsyncConnection.connect(**parameters(self.url, "test")) as db:
            await db.execute(sql.encode(), values)

    async def step(self, seconds: float = 0.0) -> None:
        self.now += timedelta(seconds=seconds)
        await self.pinning.take_up()
        for name in ("local", "kubo"):
            while await self.pinning.carry_on(name):
                pass

    async def stages(self, root: str) -> dict[str, str]:
        (found,) = await self.pinning.proofs(root)
        return {one["store"]: one["stage"] for one in found["stores"]}

    async def is_safe(self, root: str) -> bool:
        (found,) = await self.pinning.proofs(root)
        return bool(found["safe"])


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with PinRecords(database_url) as records:
        yield Scene(database_url, records)


async def test_a_proof_is_pinned_everywhere_and_read_back(scene: Scene) -> None:
    root = scene.proof("one")
    await scene.pinning.want(root)
    await scene.step()
    assert await scene.stages(root) == {"local": "kept", "kubo": "kept"}
    assert await scene.is_safe(root)
    assert [str(one) for one in scene.kubo.roots] == [root]


async def test_what_the_rounds_left_is_taken_up(scene: Scene) -> None:
    own, approved, rejected, bundle = (scene.proof(name) for name in ("own", "approved", "rejected", "bundle"))
    await scene.execute("INSERT INTO assignments (claim_id, state, cid) VALUES ('a', 'proved', %s), ('b', 'leased', NULL)", own)
    for cid, vote in ((approved, "approve"), (rejected, "reject")):
        await scene.execute(
            "INSERT INTO reviews (round, worker, cid, vote, reason, document) VALUES (1, 'w', %s, %s, '', '')", cid, vote
        )
    await scene.execute("INSERT INTO rounds (number, submitted) VALUES (3, %s), (4, 'idle:no_work')", f"verdicts:{bundle}")
    await scene.step()
    await scene.step()
    assert await scene.stages(own) == {"local": "kept", "kubo": "kept"}
    assert await scene.stages(approved) == {"local": "kept"}
    assert await scene.stages(bundle) == {"local": "kept", "kubo": "kept"}
    assert await scene.pinning.proofs(rejected) == []


async def test_a_store_that_fails_is_tried_again_later_and_holds_nothing_else_up(scene: Scene) -> None:
    root = scene.proof("patient")
    scene.kubo.failure = UnavailableError("kubo_silent", "no answer")
    await scene.pinning.want(root)
    await scene.step()
    assert await scene.stages(root) == {"local": "kept", "kubo": "wanted"}
    assert not await scene.is_safe(root)
    await scene.pinning.look()
    told = {one["store"]: one for one in scene.pinning.status()}
    assert (told["kubo"]["state"], told["kubo"]["wanted"], told["kubo"]["failing"]) == ("troubled", 1, 1)
    assert told["kubo"]["error"] == "kubo_silent: no answer"
    assert (told["local"]["state"], told["local"]["kept"]) == ("ok", 1)
    scene.kubo.failure = None
    await scene.step(1)
    assert await scene.stages(root) == {"local": "kept", "kubo": "wanted"}
    await scene.step(5)
    assert await scene.stages(root) == {"local": "kept", "kubo": "kept"}


async def test_a_queue_survives_its_process(scene: Scene, database_url: str) -> None:
    root = scene.proof("durable")
    await scene.pinning.want(root)
    await scene.pinning.take_up()
    claimed = await scene.records.claim("kubo", scene.now, timedelta(seconds=660), 9)
    assert [pin.root for pin in claimed] == [root]
    # The process that claimed it dies here. Nobody else has it before its time is over, then anybody.
    async with PinRecords(database_url) as records:
        other = Pinning(records, {"kubo": scene.kubo}, scene.blocks, POLICY, clock=lambda: scene.now)
        assert await other.carry_on("kubo") == 0
        scene.now += timedelta(seconds=661)
        assert await other.carry_on("kubo") == 1
    assert (await scene.stages(root))["kubo"] == "kept"


async def test_what_vanished_is_noticed_and_pinned_again(scene: Scene) -> None:
    root = scene.proof("vanishing")
    await scene.pinning.want(root)
    await scene.step()
    scene.kubo.roots.clear()
    await scene.step(POLICY.check_every.total_seconds() + 1)
    assert (await scene.stages(root))["kubo"] == "wanted"
    await scene.step(10)
    assert (await scene.stages(root))["kubo"] == "kept"


async def test_a_store_that_is_at_it_is_asked_again_and_not_given_up(scene: Scene) -> None:
    root = scene.proof("pending")
    scene.kubo.refuses = [UnavailableError("pin_pending", "queued", retry_after=15)] * 3
    await scene.pinning.want(root)
    for _ in range(4):
        await scene.step(15)
    assert (await scene.stages(root))["kubo"] == "kept"


async def test_proofs_go_when_their_time_is_over_and_not_before(scene: Scene) -> None:
    old = scene.proof("old")
    await scene.pinning.want(old)
    await scene.step()
    assert await scene.pinning.collect(dry=False) == []
    scene.now += POLICY.retention + timedelta(seconds=1)
    young = scene.proof("young")
    await scene.pinning.want(young)
    await scene.step()
    assert await scene.pinning.collect(dry=True) == [old]
    assert [str(root) for root in scene.kubo.roots] == [old, young]
    assert await scene.pinning.collect(dry=False) == [old]
    assert [str(root) for root in scene.kubo.roots] == [young]
    await scene.step(1)
    assert await scene.stages(old) == {}
    assert await scene.pinning.collect(dry=False) == []


async def test_a_store_that_does_not_answer_keeps_a_proof_from_being_forgotten(scene: Scene) -> None:
    root = scene.proof("held")
    await scene.pinning.want(root)
    await scene.step()
    scene.now += POLICY.retention + timedelta(seconds=1)
    scene.kubo.failure = UnavailableError("kubo_silent", "no answer")
    with pytest.raises(UnavailableError):
        await scene.pinning.collect(dry=False)
    scene.kubo.failure = None
    assert await scene.pinning.collect(dry=False) == [root]
