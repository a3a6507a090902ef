"""Cancel: wanted in one process, carried out in another, forgotten by no crash, and always ended with what was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.database import parameters
from orca_agent.store.events import EventLog, NewEvent
from orca_agent.store.journal import Hold
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.finished import read_finished
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished, Runner
from orca_agent.work.states import FAILED, RunState
from orca_agent.work.worker import Worker
from orca_engine.item import Item
from orca_protocol.errors import InvalidError
from tests.fakes.scripted_model import ScriptedModel

POLICY = LeasePolicy(ttl=10.0, beat=3.0, sweep=0.05, attempts=3, wait_first=0.05, wait_max=0.1)
NAMES = ("A", "B", "C")
SPEC = json.dumps(
    {
        "task": "T",
        "swarm_type": "SequentialWorkflow",
        "agents": [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in NAMES],
    }
).encode()


class Scene:
    """Two views of one queue, as two processes have it: one works, one only asks."""

    def __init__(self, url: str, here: RunQueue, there: RunQueue, events: EventLog, journal: PostgresJournal) -> None:
        self.url, self.here, self.there, self.events, self.journal = url, here, there, events, journal
        self.model = ScriptedModel()
        registry = Registry([self.model], {})
        self.worker = Worker(there, events, lambda _, on_event: Runner(journal, registry, Secrets(), on_event=on_event))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.worker.serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def submit(self) -> str:
        return (await Intake(self.here, Secrets()).submit(Item.local(SPEC), SPEC, key="key")).run_id

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not claim():
                await asyncio.sleep(0.01)

    async def ended(self, run_id: str) -> RunState:
        async with asyncio.timeout(10):
            while (state := await self.here.state(run_id)).run.status is None:
                await asyncio.sleep(0.01)
        return state

    async def finished(self, run_id: str) -> Finished:
        return await read_finished((await self.ended(run_id)).run, self.journal)

    async def kinds(self, run_id: str) -> list[str]:
        return [event.kind for event in await self.events.read(run_id, 0)]

    async def execute(self, sql: str) -> None:
        async with await psycopg.AsyncConnection.connect(**parameters(self.url, "test"), autocommit=True) as db:
            await db.execute(sql.encode())


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    async with RunQueue(database_url, POLICY) as here, RunQueue(database_url, POLICY) as there, EventLog(database_url) as events:
        yield Scene(database_url, here, there, events, journal)
    await journal.close()


async def test_a_running_run_is_stopped_at_once_and_keeps_what_was_answered(scene: Scene) -> None:
    scene.model.latency["B"] = 60.0
    run_id = await scene.submit()
    working = asyncio.create_task(scene.worker.work(run_id))
    await scene.until(lambda: scene.model.in_flight == 1 and len(scene.model.calls) == 2)
    begun = time.monotonic()
    await scene.here.cancel(run_id)
    await working
    assert time.monotonic() - begun < POLICY.beat / 2, "it was rung, and did not wait for the next beat"
    ended = await scene.finished(run_id)
    assert (ended.output.stopped, [entry.stop for entry in ended.entries]) == ("cancelled", [None, "cancelled"])
    assert ended.output.output[0].content == "out(A,1)"
    kinds = await scene.kinds(run_id)
    assert "cancel_requested" in kinds
    assert kinds[-1] == "finished"
    assert [call.agent for call in scene.model.calls] == ["A", "B"]


async def test_a_bell_that_nobody_heard_is_made_up_for_at_the_next_beat(scene: Scene) -> None:
    scene.model.latency["A"] = 60.0
    scene.there.policy = LeasePolicy(ttl=10.0, beat=0.2)
    run_id = await scene.submit()
    working = asyncio.create_task(scene.worker.work(run_id))
    await scene.until(lambda: scene.model.in_flight == 1)
    await scene.execute("UPDATE queue SET cancel_requested = now()")
    async with asyncio.timeout(5):
        await working
    assert (await scene.finished(run_id)).output.stopped == "cancelled"


async def test_a_queued_run_ends_without_a_single_call(scene: Scene) -> None:
    run_id = await scene.submit()
    await scene.here.cancel(run_id)
    scene.model.listing_error = InvalidError("unasked", "nobody needs to know which models there are")
    async with scene.working():
        ended = await scene.finished(run_id)
        assert scene.model.calls == []
        assert [entry.stop for entry in ended.entries] == ["cancelled"]
        assert (ended.output.status, ended.output.stopped) == ("error", "cancelled")
    assert await scene.kinds(run_id) == ["queued", "cancel_requested", "started", "call_finished", "finished"]


async def test_a_run_that_waits_for_another_try_is_ended_now(scene: Scene) -> None:
    run_id = await scene.submit()
    claim = await scene.here.claim(run_id, "me")
    assert claim is not None
    await scene.here.wait(claim, 600.0)
    async with scene.working():
        await scene.here.cancel(run_id)
        assert (await scene.finished(run_id)).output.stopped == "cancelled"


async def test_a_run_that_cannot_go_on_now_is_not_left_waiting_if_it_is_to_end(scene: Scene) -> None:
    run_id = await scene.submit()
    claim = await scene.here.claim(run_id, "me")
    assert claim is not None
    await scene.here.cancel(run_id)
    await scene.here.wait(claim, 600.0)
    async with scene.working():
        assert (await scene.finished(run_id)).output.stopped == "cancelled"


async def test_the_wish_survives_the_worker_that_heard_it(scene: Scene) -> None:
    run_id = await scene.submit()
    claim = await scene.here.claim(run_id, "a worker that is killed now")
    assert claim is not None
    assert not claim.is_cancelled
    await scene.here.cancel(run_id)
    await scene.execute("UPDATE queue SET due = now()")
    async with scene.working():
        ended = await scene.finished(run_id)
        assert (ended.output.stopped, scene.model.calls) == ("cancelled", [])


async def test_models_that_are_slow_to_be_found_are_not_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def slow() -> tuple[str, ...]:
        asked.set()
        await asyncio.sleep(60)
        return ()

    monkeypatch.setattr(scene.model, "models", slow)
    run_id = await scene.submit()
    working = asyncio.create_task(scene.worker.work(run_id))
    await asked.wait()
    await scene.here.cancel(run_id)
    async with asyncio.timeout(5):
        await working
    assert (await scene.finished(run_id)).output.stopped == "cancelled"


async def test_what_has_ended_cannot_be_cancelled(scene: Scene) -> None:
    run_id = await scene.submit()
    await scene.worker.work(run_id)
    with pytest.raises(InvalidError, match="run_ended"):
        await scene.here.cancel(run_id)
    assert not (await scene.here.state(run_id)).is_cancelled
    with pytest.raises(InvalidError, match="run_unknown"):
        await scene.here.cancel("r9")


async def test_to_want_it_twice_is_to_want_it(scene: Scene) -> None:
    run_id = await scene.submit()
    await asyncio.gather(*(scene.here.cancel(run_id) for _ in range(5)))
    assert (await scene.kinds(run_id)).count("cancel_requested") == 1
    assert (await scene.here.state(run_id)).is_cancelled


async def test_a_run_whose_worker_died_after_its_output_gets_its_last_event(scene: Scene) -> None:
    run_id = await scene.submit()
    claim = await scene.here.claim(run_id, "me")
    assert claim is not None
    await scene.journal.finish(claim.hold, "partial", 1.0, 0)
    assert (await scene.kinds(run_id))[-1] == "queued"
    await scene.execute("UPDATE queue SET due = now()")
    await scene.here.sweep()
    assert (await scene.kinds(run_id))[-1] == "finished"


async def test_a_run_that_fails_tells_why(scene: Scene) -> None:
    scene.model.names = ()
    run_id = await scene.submit()
    await scene.worker.work(run_id)
    assert (await scene.ended(run_id)).run.status == FAILED
    (*_, last) = await scene.events.read(run_id, 0)
    assert last.kind == "failed"
    assert json.loads(last.body)["reason"].startswith("model_unavailable")


async def test_all_that_a_run_told_is_there_when_it_is_said_to_have_ended(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    append = scene.events.append

    async def slowly(hold: Hold, events: Sequence[NewEvent], *, batch: int) -> None:
        await asyncio.sleep(0.3)
        await append(hold, events, batch=batch)

    monkeypatch.setattr(scene.events, "append", slowly)
    run_id = await scene.submit()
    working = asyncio.create_task(scene.worker.work(run_id))
    await scene.events.until_closed(run_id, 10.0)
    assert (await scene.kinds(run_id)).count("call_finished") == 3
    await working


async def test_held_runs_are_let_go_where_no_worker_can_live(scene: Scene) -> None:
    run_id = await scene.submit()
    assert await scene.here.claim(run_id, "of a process that is dead") is not None
    await scene.here.release_all()
    async with scene.working():
        assert (await scene.ended(run_id)).run.status == "success"


async def test_runs_are_listed_in_order_by_page_and_by_status(scene: Scene) -> None:
    intake = Intake(scene.here, Secrets())
    ids = [(await intake.submit(Item.local(SPEC), SPEC, key=str(number))).run_id for number in range(4)]
    await scene.worker.work(ids[1])
    assert await scene.here.claim(ids[2], "me") is not None
    found = await scene.here.states(status=None, after=0, limit=3)
    assert [(state.run.id, state.status) for state in found] == [(ids[0], "queued"), (ids[1], "success"), (ids[2], "running")]
    assert [state.run.id for state in await scene.here.states(status=None, after=found[-1].place, limit=3)] == ids[3:]
    assert [state.run.id for state in await scene.here.states(status="queued", after=0, limit=9)] == [ids[0], ids[3]]
    depth = await scene.here.depth()
    assert (depth.queued, depth.running, depth.unfinished) == (2, 1, 3)


async def test_a_full_queue_takes_nothing_new_and_knows_what_it_has(scene: Scene) -> None:
    intake = Intake(scene.here, Secrets(), at_most=2)
    stored = [await intake.submit(Item.local(SPEC), SPEC, key=key) for key in "ab"]
    with pytest.raises(Exception, match="queue_full"):
        await intake.submit(Item.local(SPEC), SPEC, key="c")
    assert (await intake.submit(Item.local(SPEC), SPEC, key="a")).run_id == stored[0].run_id
    await scene.worker.work(stored[0].run_id)
    assert (await intake.submit(Item.local(SPEC), SPEC, key="c")).is_new
