"""The queue on a real PostgreSQL: stored once, claimed by one, held by epoch, swept by anyone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from orca_agent.observe.secrets import Secrets
from orca_agent.store.journal import Hold
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import Claim, RunQueue
from orca_agent.work.states import FAILED
from orca_engine.item import Item
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Path
from tests.unit.orca_agent.store.samples import AT, entry

SPEC = json.dumps({"task": "T", "agents": [{"agent_name": "A", "model_name": "scripted"}]}).encode()
ITEM = Item.local(SPEC)


class Scene:
    """A queue, the way in, and a hand on the clock: what is due is made due in the database."""

    def __init__(self, url: str, queue: RunQueue) -> None:
        self.url, self.queue = url, queue
        self.intake = Intake(queue, Secrets([SecretStr("a secret of this node")]))

    async def submit(self, key: str = "key") -> str:
        return (await self.intake.submit(ITEM, SPEC, key=key)).run_id

    async def claimed(self, key: str = "key") -> Claim:
        claim = await self.queue.claim(await self.submit(key), "me")
        assert claim is not None
        return claim

    async def rows(self, sql: str) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.url, options="-c search_path=orca_agent", autocommit=True) as db:
            cursor = await db.execute(sql)
            return await cursor.fetchall() if cursor.description else []

    async def make_due(self) -> None:
        await self.rows("UPDATE queue SET due = now() WHERE due IS NOT NULL")

    async def jobs(self) -> int:
        (row,) = await self.rows("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'")
        return int(row[0])


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with RunQueue(database_url, LeasePolicy(attempts=3)) as queue:
        yield Scene(database_url, queue)


async def test_the_same_key_gets_the_same_run_and_one_announcement(scene: Scene) -> None:
    first = await scene.intake.submit(ITEM, SPEC, key="key")
    again = await scene.intake.submit(ITEM, SPEC, key="key")
    assert (first.is_new, again.is_new, again.run_id) == (True, False, first.run_id)
    assert await scene.jobs() == 1
    assert await scene.submit("another key") != first.run_id


async def test_of_many_submissions_at_once_under_one_key_one_is_stored(scene: Scene) -> None:
    stored = await asyncio.gather(*(scene.intake.submit(ITEM, SPEC, key="key") for _ in range(10)))
    assert len({one.run_id for one in stored}) == 1
    assert sum(one.is_new for one in stored) == 1
    assert await scene.rows("SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_a_key_that_was_used_for_something_else_is_refused(scene: Scene, timeout: float | None) -> None:
    await scene.intake.submit(ITEM, SPEC, key="key", timeout=1.0)
    with pytest.raises(InvalidError, match="idempotency_conflict"):
        await scene.intake.submit(ITEM, SPEC, key="key", timeout=timeout)


async def test_a_run_that_ends_at_a_moment_is_the_same_run_whenever_it_is_submitted(scene: Scene) -> None:
    stored = await scene.intake.submit(ITEM, SPEC, key="key", deadline=4e9)
    assert (await scene.queue.state(stored.run_id)).run.deadline == 4e9
    assert (await scene.intake.submit(ITEM, SPEC, key="key", deadline=4e9)).run_id == stored.run_id
    others: list[dict[str, Any]] = [{"deadline": 5e9}, {"timeout": 4e9}, {}]
    for other in others:
        with pytest.raises(InvalidError, match="idempotency_conflict"):
            await scene.intake.submit(ITEM, SPEC, key="key", **other)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\0b"])
async def test_a_key_that_is_none_is_refused(scene: Scene, key: str) -> None:
    with pytest.raises(InvalidError, match="idempotency_key"):
        await scene.intake.submit(ITEM, SPEC, key=key)


async def test_a_spec_with_a_secret_is_not_stored(scene: Scene) -> None:
    spec = SPEC.replace(b'"T"', b'"a secret of this node"')
    with pytest.raises(InvalidError, match="secret_in_spec"):
        await scene.intake.submit(Item.local(spec), spec, key="key")
    assert await scene.rows("SELECT count(*) FROM runs") == [(0,)]


async def test_a_claim_raises_the_epoch_and_only_one_worker_gets_it(scene: Scene) -> None:
    run_id = await scene.submit()
    claims = await asyncio.gather(*(scene.queue.claim(run_id, f"worker {number}") for number in range(5)))
    (claim,) = [claim for claim in claims if claim is not None]
    assert (claim.hold.epoch, claim.attempts, claim.run.spec) == (1, 1, SPEC)
    assert (await scene.queue.state(run_id)).holder is not None
    assert await scene.queue.claim("no such run", "me") is None


async def test_a_lease_that_expires_lets_another_worker_in_and_the_first_one_out(scene: Scene) -> None:
    former = await scene.claimed()
    await scene.make_due()
    assert await scene.queue.sweep() == 1
    assert not await scene.queue.beat(former)
    claim = await scene.queue.claim(former.run.id, "another")
    assert claim is not None
    assert (claim.hold.epoch, claim.attempts) == (2, 2)
    journal = PostgresJournal(scene.url)
    with pytest.raises(InvalidError, match="run_taken_over"):
        await journal.append(former.hold, entry(Path(1, 0, 0)))
    await journal.append(claim.hold, entry(Path(1, 0, 0)))
    await journal.close()
    # nothing that the former holder says of the run is heard
    await scene.queue.done(former)
    await scene.queue.fail(former, "no")
    await scene.queue.wait(former, 0)
    await scene.queue.give_back(former)
    state = await scene.queue.state(claim.run.id)
    assert (state.holder, state.run.status, state.attempts) == ("another", None, 2)


async def test_a_lease_that_is_extended_does_not_expire(scene: Scene) -> None:
    claim = await scene.claimed()
    await scene.make_due()
    assert await scene.queue.beat(claim)
    assert await scene.queue.sweep() == 0


async def test_a_run_that_ends_all_its_workers_fails_and_says_so(scene: Scene) -> None:
    run_id = await scene.submit()
    for _ in range(3):
        assert await scene.queue.claim(run_id, "me") is not None
        await scene.make_due()
        await scene.queue.sweep()
    state = await scene.queue.state(run_id)
    assert state.run.status == FAILED
    assert state.run.finished is not None
    assert (state.reason or "").startswith("poison: 3 workers")
    assert await scene.queue.claim(run_id, "me") is None
    assert await scene.queue.sweep() == 0
    journal = PostgresJournal(scene.url)
    with pytest.raises(InvalidError, match="run_taken_over"):
        await journal.intend(Hold(run_id, 3), [Path(1, 0, 0)], AT)
    await journal.close()


async def test_a_run_whose_worker_ended_between_the_output_and_saying_so_is_closed(scene: Scene) -> None:
    claim = await scene.claimed()
    journal = PostgresJournal(scene.url)
    await journal.finish(claim.hold, "success", 1.0, 0)
    await journal.close()
    await scene.make_due()
    await scene.queue.sweep()
    state = await scene.queue.state(claim.run.id)
    assert (state.run.status, state.holder, state.epoch) == ("success", None, 1)
    assert await scene.queue.claim(claim.run.id, "me") is None


async def test_a_run_that_nobody_was_told_of_is_announced_again(scene: Scene) -> None:
    await scene.submit()
    await scene.rows("DELETE FROM procrastinate_jobs")
    await scene.make_due()
    await scene.queue.sweep()
    assert await scene.jobs() == 1
    assert await scene.queue.sweep() == 0


async def test_a_run_that_waits_is_announced_when_its_wait_is_over(scene: Scene) -> None:
    claim = await scene.claimed()
    await scene.queue.wait(claim, 100.0)
    await scene.rows("DELETE FROM procrastinate_jobs")
    assert await scene.queue.sweep() == 0
    await scene.make_due()
    assert await scene.queue.sweep() == 1
    assert await scene.jobs() == 1


async def test_two_sweepers_see_to_each_run_once(scene: Scene) -> None:
    for number in range(5):
        await scene.claimed(str(number))
    await scene.rows("DELETE FROM procrastinate_jobs")
    await scene.make_due()
    assert sum(await asyncio.gather(*(scene.queue.sweep() for _ in range(4)))) == 5
    assert await scene.jobs() == 5


async def test_jobs_of_workers_that_died_are_forgotten(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.submit()
    await scene.rows("UPDATE procrastinate_jobs SET status = 'doing'")
    caplog.set_level(logging.INFO)
    await asyncio.gather(*(scene.queue.sweep() for _ in range(4)))
    assert await scene.rows("SELECT count(*) FROM procrastinate_jobs") == [(0,)]


async def test_an_unknown_run_has_no_state(scene: Scene) -> None:
    with pytest.raises(InvalidError, match="run_unknown"):
        await scene.queue.state("r9")


async def test_a_database_that_does_not_answer_is_unavailable(database_url: str) -> None:
    nowhere = database_url.replace("/orca?", "/nosuch?")
    queue = RunQueue(nowhere)
    queue._pool.timeout = 0.2
    with pytest.raises(UnavailableError) as caught:
        async with asyncio.timeout(30), queue:
            pass
    assert caught.value.code == "queue_unavailable"
