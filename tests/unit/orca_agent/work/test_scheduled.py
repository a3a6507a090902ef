"""Runs that wait for their moment: not a call before it, one run after it, whoever works and however often one asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.database import parameters
from orca_agent.store.events import EventLog
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.finished import read_finished
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue, Stored
from orca_agent.work.runner import Runner
from orca_agent.work.states import RunState
from orca_agent.work.worker import Worker
from orca_engine.item import Item
from orca_protocol.errors import InvalidError, LimitError
from tests.fakes.scripted_model import ScriptedModel

POLICY = LeasePolicy(ttl=10.0, beat=0.5, sweep=0.05, announce_again=0.5)


def spec_for(ahead: float, zone: str = "UTC") -> bytes:
    at = datetime.now(UTC) + timedelta(seconds=ahead)
    agents = [{"agent_name": "A", "model_name": "scripted", "system_prompt": "AGENT:A"}]
    return json.dumps({"task": "T", "agents": agents, "schedule": {"scheduled_time": at.isoformat(), "timezone": zone}}).encode()


class Scene:
    """A queue with several workers, each of them as another process would have it."""

    def __init__(self, url: str, queues: list[RunQueue], events: EventLog, journal: PostgresJournal) -> None:
        self.url, self.queue, self.events, self.journal = url, queues[0], events, journal
        self.model = ScriptedModel()
        registry = Registry([self.model], {})
        self.workers = [
            Worker(queue, events, lambda _, on_event: Runner(journal, registry, Secrets(), on_event=on_event)) for queue in queues
        ]
        self.serving: list[asyncio.Task[None]] = []

    def work(self) -> None:
        self.serving = [asyncio.create_task(worker.serve()) for worker in self.workers]

    async def submit(self, spec: bytes, key: str = "key", *, timeout: float | None = None, at_most: int | None = None) -> Stored:
        item = Item.local(spec)
        intake = Intake(self.queue, Secrets(), at_most=at_most)
        return await intake.submit(item, spec, key=key, timeout=timeout, schedule=item.spec.schedule)

    async def ended(self, run_id: str) -> RunState:
        async with asyncio.timeout(10):
            while (state := await self.queue.state(run_id)).run.status is None:
                await asyncio.sleep(0.02)
        return state

    async def execute(self, sql: str) -> None:
        async with await psycopg.AsyncConnection.connect(**parameters(self.url, "test"), autocommit=True) as db:
            await db.execute(sql.encode())


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    async with RunQueue(database_url, POLICY) as one, RunQueue(database_url, POLICY) as two, EventLog(database_url) as events:
        made = Scene(database_url, [one, two], events, journal)
        yield made
        for task in made.serving:
            task.cancel()
        await asyncio.gather(*made.serving, return_exceptions=True)
    await journal.close()


async def test_api_11_a_run_is_begun_when_it_is_due_and_once_by_all_workers(scene: Scene) -> None:
    scene.work()
    run_id = (await scene.submit(spec_for(0.8, "Europe/Madrid"))).run_id
    early = await scene.queue.state(run_id)
    assert (early.status, early.due and early.due.zone) == ("scheduled", "Europe/Madrid")
    state = await scene.ended(run_id)
    assert [call.agent for call in scene.model.calls] == ["A"]
    assert (state.status, state.epoch, state.attempts) == ("success", 1, 1)
    events = await scene.events.read(run_id, 0)
    assert [event.kind for event in events][:2] == ["scheduled", "started"]
    assert state.due is not None
    late = events[1].at - state.due.at.timestamp()
    assert 0 <= late < 1.0, "it was neither early nor more than a second late"
    assert state.created < state.run.started == state.due.at.timestamp()


async def test_nobody_gets_a_run_before_its_moment_whatever_was_announced(scene: Scene) -> None:
    run_id = (await scene.submit(spec_for(3600))).run_id
    assert await scene.queue.claim(run_id, "me") is None
    await scene.execute("UPDATE queue SET due = now()")  # as a sweeper would make of a wrong word
    await scene.queue.sweep()
    assert await scene.queue.claim(run_id, "me") is None
    await scene.execute("UPDATE queue SET scheduled = now()")
    assert await scene.queue.claim(run_id, "me") is not None


async def test_a_run_whose_workers_were_away_at_its_moment_is_begun_when_one_is_back(scene: Scene) -> None:
    run_id = (await scene.submit(spec_for(3600))).run_id
    await scene.execute("UPDATE queue SET scheduled = now() - interval '1 hour', due = now() - interval '1 hour'")
    assert (await scene.queue.state(run_id)).status == "queued"
    scene.work()
    assert (await scene.ended(run_id)).status == "success"
    assert len(scene.model.calls) == 1


async def test_api_11_cancelled_before_its_moment_it_ends_without_a_call(scene: Scene) -> None:
    scene.work()
    run_id = (await scene.submit(spec_for(3600), timeout=5.0)).run_id
    await scene.queue.cancel(run_id)
    state = await scene.ended(run_id)
    finished = await read_finished(state.run, scene.journal)
    assert (finished.output.status, finished.output.stopped, scene.model.calls) == ("error", "cancelled", [])
    assert state.run.started <= finished.finished, "what ended before its moment did not begin after its end"


async def test_a_cancel_whose_announcement_is_lost_is_carried_out_all_the_same(scene: Scene) -> None:
    run_id = (await scene.submit(spec_for(3600))).run_id
    await scene.queue.cancel(run_id)
    await scene.execute("DELETE FROM orca_agent.procrastinate_jobs")
    scene.work()
    assert (await scene.ended(run_id)).run.status == "error"
    assert scene.model.calls == []


async def test_ended_before_its_moment_a_run_had_as_long_as_it_was_to_have(scene: Scene) -> None:
    run_id = (await scene.submit(spec_for(3600), timeout=5.0)).run_id
    await scene.queue.cancel(run_id)
    scene.work()
    run = (await scene.ended(run_id)).run
    assert run.deadline is not None
    assert abs(run.deadline - run.started - 5.0) < 0.01


async def test_time_out_counts_from_the_moment(scene: Scene) -> None:
    state = await scene.queue.state((await scene.submit(spec_for(3600), timeout=5.0)).run_id)
    assert state.due is not None
    assert state.run.deadline == state.due.at.timestamp() + 5.0


async def test_who_asks_again_under_the_same_key_gets_the_same_run_also_when_the_moment_is_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for(3600)
    first = await scene.submit(spec)
    assert (await scene.submit(spec)).run_id == first.run_id

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Later:
            return cls.fromtimestamp(datetime.now(UTC).timestamp() + 2 * 3600, UTC)

    monkeypatch.setattr("orca_agent.models.retry.datetime", Later)
    again = await scene.submit(spec)
    assert (again.run_id, again.is_new) == (first.run_id, False)
    with pytest.raises(InvalidError, match="schedule_past"):
        await scene.submit(spec, key="another")


async def test_runs_that_wait_for_their_moment_take_no_room_from_those_that_do_not(scene: Scene) -> None:
    await scene.submit(spec_for(3600), at_most=1)
    with pytest.raises(LimitError, match="1 runs are scheduled"):
        await scene.submit(spec_for(3600), key="another", at_most=1)
    plain = json.dumps({"task": "T", "agents": [{"agent_name": "A", "model_name": "scripted"}]}).encode()
    await scene.submit(plain, key="now", at_most=1)
    depth = await scene.queue.depth()
    assert (depth.queued, depth.running, depth.scheduled) == (1, 0, 1)


async def test_the_same_spec_by_a_lease_is_run_at_once(scene: Scene) -> None:
    spec = spec_for(3600)
    stored = await Intake(scene.queue, Secrets()).submit(Item.local(spec), spec, key="lease")
    assert (await scene.queue.state(stored.run_id)).status == "queued"
