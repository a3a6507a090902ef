"""Events on a real PostgreSQL: numbered without gaps, refused from who lost the run, followed by waking and by looking."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import psycopg
import pytest

from orca.postgres import EmbeddedPostgres
from orca_agent.store import events as module
from orca_agent.store.database import Connection, parameters
from orca_agent.store.events import EventLog, Extent, NewEvent, RunEvent, close_events, note
from orca_agent.store.journal import Hold
from orca_agent.store.postgres import PostgresJournal
from orca_protocol.errors import InvalidError, UnavailableError
from tests.unit.orca_agent.store.samples import RUN


def told(kind: str = "delta", **body: object) -> NewEvent:
    return NewEvent(kind, body, 5.0)


class Scene:
    """A run that is held, and its events."""

    def __init__(self, url: str, journal: PostgresJournal, events: EventLog, hold: Hold) -> None:
        self.url, self.journal, self.events, self.hold = url, journal, events, hold
        self.batch = 0

    async def tell(self, *events: NewEvent) -> None:
        self.batch += 1
        await self.events.append(self.hold, events, batch=self.batch)

    async def numbers(self, after: int = 0) -> list[int]:
        return [event.number for event in await self.events.read(RUN.id, after)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with await psycopg.AsyncConnection.connect(**parameters(self.url, "test")) as db:
            yield db

    async def end(self, status: str = "success") -> None:
        await self.journal.finish(self.hold, status, 200.0, 0)
        async with self.transaction() as db:
            await close_events(db, RUN.id)

    async def follow(self, after: int = 0) -> list[RunEvent]:
        return [event async for batch in self.events.follow(RUN.id, after) for event in batch]


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    async with EventLog(database_url) as events:
        yield Scene(database_url, journal, events, await journal.begin(RUN))
    await journal.close()


async def test_numbers_rise_by_one_whoever_writes(scene: Scene) -> None:
    async def bystander() -> None:
        async with scene.transaction() as db:
            await note(db, RUN.id, "cancel_requested", {})

    batches = [scene.events.append(scene.hold, [told(n=n), told(n=n)], batch=n) for n in range(20)]
    await asyncio.gather(*batches, *(bystander() for _ in range(5)))
    assert await scene.numbers() == list(range(1, 46))


async def test_a_batch_stays_together_and_in_order(scene: Scene) -> None:
    await asyncio.gather(*(scene.events.append(scene.hold, [told(b=b, n=n) for n in range(5)], batch=b) for b in range(10)))
    bodies = [json.loads(event.body) for event in await scene.events.read(RUN.id, 0)]
    assert [body["n"] for body in bodies] == [*range(5)] * 10
    assert all(len({body["b"] for body in bodies[start : start + 5]}) == 1 for start in range(0, 50, 5))


async def test_what_is_told_is_read_as_it_was_told(scene: Scene) -> None:
    await scene.tell(told("delta", text="a\n\0'\u2028ä\ud800"))
    (event,) = await scene.events.read(RUN.id, 0)
    assert (event.number, event.at, event.kind) == (1, 5.0, "delta")
    assert json.loads(event.body) == {"text": "a\n\0'\u2028ä?"}
    assert "\n" not in event.body


async def test_who_lost_the_run_tells_nothing_more_of_it(scene: Scene) -> None:
    await scene.tell(told())
    taken = await scene.journal.take(RUN.id)
    with pytest.raises(InvalidError, match="run_taken_over"):
        await scene.tell(told("zombie"))
    await scene.events.append(taken, [told("heir")], batch=1)
    assert [event.kind for event in await scene.events.read(RUN.id, 0)] == ["delta", "heir"]


async def test_a_batch_that_may_have_been_written_can_be_written_again(scene: Scene) -> None:
    await scene.tell(told(n=1))
    scene.batch -= 1
    await scene.tell(told(n=1))
    assert await scene.numbers() == [1]
    await scene.tell(told(n=2))
    assert await scene.numbers() == [1, 2]


async def test_nothing_comes_after_the_last_event(scene: Scene) -> None:
    await scene.tell(told())
    await scene.end()
    await scene.end()
    with pytest.raises(InvalidError, match="run_taken_over"):
        await scene.tell(told())
    async with scene.transaction() as db:
        await note(db, RUN.id, "cancel_requested", {})
    (last,) = await scene.events.read(RUN.id, 1)
    assert (last.kind, json.loads(last.body)) == ("finished", {"status": "success"})
    assert await scene.events.extent(RUN.id) == Extent(2, is_closed=True)


async def test_a_run_that_has_not_ended_is_not_closed(scene: Scene) -> None:
    async with scene.transaction() as db:
        await close_events(db, RUN.id)
    assert await scene.events.extent(RUN.id) == Extent(0, is_closed=False)


async def test_a_follower_gets_everything_once_and_ends_with_the_run(scene: Scene) -> None:
    await scene.tell(told(), told())
    following = [asyncio.create_task(scene.follow(after)) for after in (0, 1, 2, 7)]
    await asyncio.sleep(0.05)
    await scene.tell(*(told() for _ in range(500)))
    await scene.end()
    seen = [[event.number for event in await one] for one in following]
    assert seen == [list(range(after + 1, 504)) for after in (0, 1, 2, 7)]
    assert [event.kind for event in await scene.follow(500)] == ["delta", "delta", "finished"]
    assert await scene.follow(503) == []


async def test_a_follower_is_woken_and_need_not_look(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 60.0)

    async def first() -> list[int]:
        async with aclosing(scene.events.follow(RUN.id, 0)) as following:
            async for batch in following:
                if batch:
                    break
            else:
                batch = ()
        return [event.number for event in batch]

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0.2)
    await scene.tell(told())
    async with asyncio.timeout(5):
        assert await waiting == [1]


async def test_a_follower_that_nobody_wakes_looks_by_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.05)
    monkeypatch.setattr(module, "notify", _deaf)
    following = asyncio.create_task(scene.follow())
    await asyncio.sleep(0.1)
    await scene.tell(told())
    await scene.end()
    assert len(await following) == 2


async def _deaf(db: Connection, topic: str) -> None:
    """Notify nobody."""


async def test_the_listener_comes_back_when_its_connection_is_lost(
    scene: Scene, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 60.0)
    monkeypatch.setattr("orca_agent.store.wakes._RECONNECT", 0.05)
    following = asyncio.create_task(scene.follow())
    await asyncio.sleep(0.2)
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orca-wakes'")
    await scene.tell(told())
    await asyncio.sleep(0.5)
    await scene.end()
    async with asyncio.timeout(10):
        assert len(await following) == 2


async def test_the_end_of_a_run_is_waited_for(scene: Scene) -> None:
    assert not await scene.events.until_closed(RUN.id, 0.01)
    waiting = asyncio.create_task(scene.events.until_closed(RUN.id, 60.0))
    await asyncio.sleep(0.2)
    await scene.end()
    async with asyncio.timeout(5):
        assert await waiting


async def test_events_of_runs_that_ended_long_ago_are_forgotten_and_no_others(scene: Scene) -> None:
    await scene.tell(told())
    assert await scene.events.forget(0.0) == 0
    await scene.end()
    assert await scene.events.forget(time.time()) == 0
    assert await scene.events.forget(time.time() - 1000) == 2
    assert await scene.events.forget(0.0) == 0
    assert await scene.follow() == []
    assert await scene.events.extent(RUN.id) == Extent(2, is_closed=True)


async def test_a_database_that_is_gone_is_unavailable(database_url: str) -> None:
    log = EventLog(database_url.replace("/orca?", "/nosuch?"))
    log._pool.timeout = 0.2
    with pytest.raises(UnavailableError, match="events_unavailable"):
        async with asyncio.timeout(30), log:
            pass


async def test_a_verdict_comes_after_the_end_once_and_reopens_nothing(scene: Scene) -> None:
    await scene.events.add_verdict(RUN.id, {"outcome": "too early"})
    await scene.tell(told())
    await scene.end()
    for _ in range(2):
        await scene.events.add_verdict(RUN.id, {"outcome": "paid"})
    await scene.events.add_verdict(RUN.id, {"outcome": "unpaid"})
    assert [event.kind for event in await scene.follow()] == ["delta", "finished", "verdict", "verdict"]
    assert await scene.events.extent(RUN.id) == Extent(4, is_closed=True)
    assert [json.loads(event.body)["outcome"] for event in await scene.follow(after=2)] == ["paid", "unpaid"]
