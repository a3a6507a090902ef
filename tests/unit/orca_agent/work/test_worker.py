"""A worker over a real queue and journal and a scripted model: what becomes of a run is said, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.events import EventLog
from orca_agent.store.journal import RunRecord
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.events import OnEvent
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Runner, RunOptions
from orca_agent.work.states import FAILED, RunState
from orca_agent.work.worker import Worker
from orca_engine.item import Item
from orca_protocol.errors import UnavailableError
from tests.fakes.scripted_model import ScriptedModel

POLICY = LeasePolicy(ttl=10.0, beat=0.1, sweep=0.05, attempts=2, wait_first=0.05, wait_max=0.1)


def spec_of(model: str = "scripted") -> bytes:
    agents = [{"agent_name": name, "model_name": model, "system_prompt": f"AGENT:{name}"} for name in ("A", "B")]
    return json.dumps({"task": "T", "swarm_type": "SequentialWorkflow", "agents": agents}).encode()


class Scene:
    """A worker and everything it was built from; ``mistake`` is raised instead of making a runner."""

    def __init__(self, url: str, queue: RunQueue, events: EventLog, journal: PostgresJournal) -> None:
        self.url, self.queue, self.events, self.journal = url, queue, events, journal
        self.model = ScriptedModel()
        self.mistake: Exception | None = None
        self.worker = Worker(queue, events, self.runner)

    def runner(self, run: RunRecord, on_event: OnEvent) -> Runner:
        if self.mistake is not None:
            raise self.mistake
        return Runner(self.journal, Registry([self.model], {}), Secrets(), options=RunOptions(follow=True), on_event=on_event)

    async def submit(self, spec: bytes) -> str:
        return (await Intake(self.queue, Secrets()).submit(Item.local(spec), spec, key="key")).run_id

    async def state(self, run_id: str) -> RunState:
        return await self.queue.state(run_id)

    async def until_ended(self, run_id: str) -> RunState:
        while (state := await self.state(run_id)).run.status is None:
            await asyncio.sleep(0.02)
        return state


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    async with RunQueue(database_url, POLICY) as queue, EventLog(database_url) as events:
        yield Scene(database_url, queue, events, journal)
    await journal.close()


async def test_a_run_is_taken_to_its_end_once(scene: Scene) -> None:
    run_id = await scene.submit(spec_of())
    await scene.worker.work(run_id)
    await scene.worker.work(run_id)
    state = await scene.state(run_id)
    assert (state.run.status, state.epoch, state.holder) == ("success", 1, None)
    assert [call.agent for call in scene.model.calls] == ["A", "B"]


async def test_a_run_this_node_cannot_make_fails_at_once_with_the_reason(scene: Scene) -> None:
    run_id = await scene.submit(spec_of("gpt-9"))
    await scene.worker.work(run_id)
    state = await scene.state(run_id)
    assert (state.run.status, state.attempts) == (FAILED, 1)
    assert (state.reason or "").startswith("model_unavailable")
    assert scene.model.calls == []


async def test_what_may_pass_is_tried_again_after_a_wait(scene: Scene) -> None:
    run_id = await scene.submit(spec_of())
    scene.mistake = UnavailableError("somewhere", "away for a moment")
    await scene.worker.work(run_id)
    assert (await scene.state(run_id)).holder is None
    scene.mistake = None
    serving = asyncio.create_task(scene.worker.serve())
    assert (await scene.until_ended(run_id)).run.status == "success"
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_run_that_has_paid_for_answers_waits_for_a_model_server_that_starts_after_the_node(scene: Scene) -> None:
    scene.model.latency["B"] = 60.0
    run_id = await scene.submit(spec_of())
    serving = asyncio.create_task(scene.worker.serve(grace=0.0))
    while scene.model.in_flight == 0 or len(scene.model.calls) < 2:
        await asyncio.sleep(0.01)
    serving.cancel()
    await asyncio.wait([serving])
    scene.model.latency.clear()
    scene.model.listing_error = UnavailableError("connect_failed", "it loads its weights")
    await scene.worker.work(run_id)
    assert (await scene.state(run_id)).run.status is None
    scene.model.listing_error = None
    serving = asyncio.create_task(scene.worker.serve())
    assert (await scene.until_ended(run_id)).run.status == "success"
    assert [call.agent for call in scene.model.calls] == ["A", "B", "B"]
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_model_server_that_never_comes_up_ends_the_run_with_its_name(scene: Scene) -> None:
    scene.model.listing_error = UnavailableError("connect_failed", "nobody there")
    serving = asyncio.create_task(scene.worker.serve())
    state = await scene.until_ended(await scene.submit(spec_of()))
    assert (state.run.status, state.attempts) == (FAILED, 2)
    assert (state.reason or "").startswith("model_unavailable: no model is called 'scripted'")
    assert "scripted (connect_failed: nobody there) (given up after 2 attempts)" in (state.reason or "")
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_mistake_of_ours_ends_one_run_and_not_the_worker(scene: Scene) -> None:
    scene.mistake = RuntimeError("a secret detail")
    serving = asyncio.create_task(scene.worker.serve())
    state = await scene.until_ended(await scene.submit(spec_of()))
    assert (state.run.status, state.attempts) == (FAILED, 2)
    assert state.reason == "internal_error: RuntimeError (given up after 2 attempts)"
    assert not serving.done()
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_worker_that_lost_its_lease_asks_nothing_more(scene: Scene) -> None:
    scene.model.latency["A"] = 60.0
    run_id = await scene.submit(spec_of())
    working = asyncio.create_task(scene.worker.work(run_id))
    while not scene.model.in_flight:
        await asyncio.sleep(0.01)
    async with await psycopg.AsyncConnection.connect(scene.url, autocommit=True) as db:
        await db.execute("UPDATE orca_agent.runs SET epoch = epoch + 1")
    await working
    assert scene.model.in_flight == 0
    assert (await scene.state(run_id)).run.status is None


async def test_a_lease_is_extended_for_as_long_as_the_run_goes_on(scene: Scene) -> None:
    scene.model.latency["A"] = 60.0
    run_id = await scene.submit(spec_of())
    working = asyncio.create_task(scene.worker.work(run_id))
    seen: set[Any] = set()
    async with await psycopg.AsyncConnection.connect(scene.url, autocommit=True) as db:
        while len(seen) < 4:
            row = await (await db.execute("SELECT due FROM orca_agent.queue WHERE holder IS NOT NULL")).fetchone()
            seen |= {row} - {None}
    assert (await scene.state(run_id)).holder == scene.worker.name
    working.cancel()
    await asyncio.wait([working])


async def test_a_worker_that_is_told_to_stop_hands_the_run_back_uncounted(scene: Scene) -> None:
    scene.model.latency["A"] = 60.0
    run_id = await scene.submit(spec_of())
    working = asyncio.create_task(scene.worker.work(run_id))
    while not scene.model.in_flight:
        await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    state = await scene.state(run_id)
    assert (state.holder, state.attempts, state.run.status) == (None, 0, None)
    scene.model.latency["A"] = 0
    await scene.worker.work(run_id)
    assert (await scene.state(run_id)).run.status == "success"


async def test_a_run_whose_deadline_passed_in_the_queue_ends_without_a_call(scene: Scene) -> None:
    spec = spec_of()
    run_id = (await Intake(scene.queue, Secrets()).submit(Item.local(spec), spec, key="key", timeout=0.001)).run_id
    await asyncio.sleep(0.01)
    await scene.worker.work(run_id)
    state = await scene.state(run_id)
    assert state.run.status == "error"
    assert all(entry.kind == "stop" for entry in await scene.journal.entries(run_id))


async def test_a_worker_outlives_its_database_connections(scene: Scene) -> None:
    serving = asyncio.create_task(scene.worker.serve())
    first = await scene.submit(spec_of())
    assert (await scene.until_ended(first)).run.status == "success"
    async with await psycopg.AsyncConnection.connect(scene.url, autocommit=True) as db:
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await db.execute(others)
    spec = spec_of()
    second = None
    while second is None:
        try:
            second = await Intake(scene.queue, Secrets()).submit(Item.local(spec), spec, key="another")
        except UnavailableError:
            await asyncio.sleep(0.05)
    assert (await scene.until_ended(second.run_id)).run.status == "success"
    serving.cancel()
    await asyncio.wait([serving])
