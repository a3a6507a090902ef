"""Runs of an API key on a real PostgreSQL: within its limits however many store at once, and settled whichever way they end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from orca_agent.observe.secrets import Secrets
from orca_agent.store.keys import ApiKey, KeyStore, KeyTerms, Usage
from orca_agent.store.ledger import Amounts
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.ceilings import day_of
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue, Stored
from orca_engine.item import Item
from orca_engine.machine import Call
from orca_protocol.budget import Budget, Price
from orca_protocol.errors import LimitError, UnavailableError
from orca_protocol.journal import Entry, Path
from orca_protocol.world import InputRequest
from tests.unit.orca_agent.store.samples import AT, entry

SPEC = json.dumps({"task": "T", "agents": [{"agent_name": "A", "model_name": "scripted", "max_tokens": 50}]}).encode()
ITEM = Item.local(SPEC)
_IN_AN_HOUR = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
LATER_SPEC = json.dumps(json.loads(SPEC) | {"schedule": {"scheduled_time": _IN_AN_HOUR}}).encode()
LATER = Item.local(LATER_SPEC)

#: stores runs of a key until it may have no more, and prints how many
STORER = """
import asyncio, sys, uuid
from orca_agent.observe.secrets import Secrets
from orca_agent.work.intake import Intake
from orca_agent.work.queue import RunQueue
from orca_engine.item import Item
from orca_protocol.errors import LimitError
async def main(url, owner, spec):
    async with RunQueue(url) as queue:
        intake = Intake(queue, Secrets())
        async def store():
            stored = 0
            while True:
                try:
                    await intake.submit(Item.local(spec), spec, key=str(uuid.uuid4()), owner=owner)
                except LimitError as error:
                    assert error.code == "too_many_runs", error
                    return stored
                stored += 1
        print(sum(await asyncio.gather(*(store() for _ in range(3)))))
asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3].encode()))
"""


class Scene:
    """A queue and the keys beside it."""

    def __init__(self, url: str, queue: RunQueue, keys: KeyStore) -> None:
        self.url, self.queue, self.keys = url, queue, keys
        self.intake = Intake(queue, Secrets())
        self.journal = PostgresJournal(url)

    async def key(self, name: str = "alice", **terms: Any) -> ApiKey:
        return (await self.keys.issue(name, KeyTerms(**terms)))[0]

    async def submit(self, key: ApiKey, name: str, item: Item = ITEM, spec: bytes = SPEC) -> Stored:
        return await self.intake.submit(item, spec, key=name, owner=key.id)

    async def usage(self, key: ApiKey) -> Usage:
        with psycopg.connect(self.url) as db:
            row = db.execute("SELECT extract(epoch FROM now())::float8").fetchone()
        assert row is not None
        return await self.keys.usage(key.id, day_of(row[0]))

    def make_due(self) -> None:
        with psycopg.connect(self.url) as db:
            db.execute("UPDATE orca_agent.queue SET due = now() WHERE due IS NOT NULL")


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with RunQueue(database_url, LeasePolicy(attempts=1)) as queue, KeyStore(database_url) as keys:
        made = Scene(database_url, queue, keys)
        yield made
        await made.journal.close()


async def refused(submitted: Any) -> LimitError:
    with pytest.raises(LimitError) as caught:
        await submitted
    return caught.value


async def test_several_processes_store_no_more_runs_of_a_key_than_it_may_have(scene: Scene) -> None:
    key = await scene.key(concurrent=7)
    command = [sys.executable, "-c", STORER, scene.url, key.id, SPEC.decode()]
    processes = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(2)]
    assert sum([int((await process.communicate())[0]) for process in processes]) == 7
    assert (await scene.usage(key)).unfinished == 7


async def test_a_run_that_ended_makes_room_and_others_are_not_concerned(scene: Scene) -> None:
    key, other = await scene.key(concurrent=1), await scene.key("bob", concurrent=1)
    first = await scene.submit(key, "1")
    assert (await refused(scene.submit(key, "2"))).code == "too_many_runs"
    await scene.submit(other, "3")
    await scene.intake.submit(ITEM, SPEC, key="the operator's")
    assert (await scene.submit(key, "1")).run_id == first.run_id, "the same request is the same run, also without room"
    claim = await scene.queue.claim(first.run_id, "me")
    assert claim is not None
    await scene.journal.finish(claim.hold, "success", 1.0, 0)
    await scene.queue.done(claim)
    assert (await scene.submit(key, "2")).is_new


async def test_the_same_request_many_times_at_once_is_one_run_where_there_is_room_for_one(scene: Scene) -> None:
    key = await scene.key(concurrent=1)
    stored = await asyncio.gather(*(scene.submit(key, "same") for _ in range(8)))
    assert len({one.run_id for one in stored}) == 1


async def test_a_refused_run_leaves_nothing(scene: Scene) -> None:
    key = await scene.key(calls_per_day=0)
    assert (await refused(scene.submit(key, "1"))).code == "day_budget_small"
    with psycopg.connect(scene.url) as db:
        assert db.execute("SELECT count(*) FROM orca_agent.runs").fetchone() == (0,)


async def test_runs_stored_at_once_reserve_no_more_than_the_day(scene: Scene) -> None:
    key = await scene.key(calls_per_day=3, output_tokens_per_day=200)
    results = await asyncio.gather(*(scene.submit(key, str(number)) for number in range(8)), return_exceptions=True)
    assert sum(isinstance(one, Stored) for one in results) == 3
    assert {one.code for one in results if isinstance(one, LimitError)} == {"day_budget_reserved"}
    assert (await scene.usage(key)).taken.reserved == Amounts(3, None, 150, None)


def answered(path: Path, **usage: int) -> Entry:
    document = entry(path).model_dump(mode="json", exclude_none=True)
    document["answer"]["usage"] = usage
    document["request"]["model"] = "scripted"
    return Entry.model_validate_json(json.dumps(document))


@pytest.mark.parametrize("ends", ["done", "failed", "swept", "poisoned"])
async def test_a_run_is_settled_by_its_journal_in_whichever_way_it_ends(scene: Scene, ends: str) -> None:
    key = await scene.key(calls_per_day=100, output_tokens_per_day=1000)
    run_id = (await scene.submit(key, "1")).run_id
    assert (await scene.usage(key)).taken.reserved == Amounts(1, None, 50, None)
    claim = await scene.queue.claim(run_id, "me")
    assert claim is not None
    await scene.journal.intend(claim.hold, [Path(1, 0, 0), Path(1, 0, 1)], AT)
    await scene.journal.append(claim.hold, answered(Path(1, 0, 0), input_tokens=11, output_tokens=7))
    match ends:
        case "done":
            await scene.journal.finish(claim.hold, "success", 1.0, 1)
            await scene.queue.done(claim)
        case "failed":
            await scene.queue.fail(claim, "no")
        case "swept":
            await scene.journal.finish(claim.hold, "success", 1.0, 1)  # and the worker dies before it says so
            scene.make_due()
            await scene.queue.sweep()
        case _:
            scene.make_due()
            await scene.queue.sweep()
    usage = await scene.usage(key)
    assert usage.unfinished == 0
    assert usage.taken.reserved == Amounts()
    assert usage.taken.spent == Amounts(2, 11, 7, None), "an asking that was lost counts too"


@pytest.mark.parametrize("waits", ["for its moment", "for a person"])
async def test_a_run_that_is_cancelled_while_it_waits_is_settled_when_it_ends(scene: Scene, waits: str) -> None:
    key = await scene.key(calls_per_day=100)
    item, spec = (LATER, LATER_SPEC) if "moment" in waits else (ITEM, SPEC)
    run_id = (await scene.intake.submit(item, spec, key="1", owner=key.id, schedule=item.spec.schedule)).run_id
    if "person" in waits:
        claim = await scene.queue.claim(run_id, "me")
        assert claim is not None
        await scene.queue.await_input(claim, [Call(Path(1, 0, 0), "H", InputRequest(messages=()))])
    await scene.queue.cancel(run_id)
    claim = await scene.queue.claim(run_id, "me")
    assert claim is not None
    await scene.journal.finish(claim.hold, "error", 1.0, 0)
    await scene.queue.done(claim)
    usage = await scene.usage(key)
    assert (usage.unfinished, usage.taken.reserved) == (0, Amounts())


async def test_what_waits_for_its_moment_takes_no_room_of_a_key(scene: Scene) -> None:
    key = await scene.key(concurrent=1)
    for number in range(2):
        await scene.intake.submit(LATER, LATER_SPEC, key=f"later {number}", owner=key.id, schedule=LATER.spec.schedule)
    await scene.submit(key, "now")
    assert (await refused(scene.submit(key, "another"))).code == "too_many_runs"


async def test_a_price_that_cannot_be_asked_for_is_no_price_that_is_unknown(scene: Scene) -> None:
    async def down(names: Iterable[str]) -> dict[str, Price]:
        raise UnavailableError("connect_failed", "no connection")

    rich, poor = await scene.key(cost_per_day=Decimal(1)), await scene.key("poor")
    intake = Intake(scene.queue, Secrets(), prices=down)
    with pytest.raises(UnavailableError, match="connect_failed"):
        await intake.submit(ITEM, SPEC, key="1", owner=rich.id)
    await intake.submit(ITEM, SPEC, key="2", owner=poor.id)
    spec = json.dumps(json.loads(SPEC) | {"budget": {"cost": "1"}}).encode()
    with pytest.raises(UnavailableError, match="connect_failed"):
        await intake.submit(Item.local(spec), spec, key="3")


async def test_a_run_that_is_swept_and_goes_on_keeps_its_reservation(database_url: str) -> None:
    async with RunQueue(database_url, LeasePolicy(attempts=3)) as queue, KeyStore(database_url) as keys:
        scene = Scene(database_url, queue, keys)
        key = await scene.key(calls_per_day=1)
        run_id = (await scene.submit(key, "1")).run_id
        assert await queue.claim(run_id, "a worker that dies") is not None
        scene.make_due()
        await queue.sweep()
        assert (await scene.usage(key)).taken.reserved.calls == 1
        assert (await refused(scene.submit(key, "2"))).code == "day_budget_reserved"
        await scene.journal.close()


async def test_yesterday_does_not_count_today(scene: Scene) -> None:
    key = await scene.key(calls_per_day=1)
    await scene.submit(key, "1")
    with psycopg.connect(scene.url) as db:
        db.execute("UPDATE orca_agent.reservations SET day = day - 1, is_settled = true")
    assert (await scene.submit(key, "2")).is_new


async def test_money_is_reserved_and_settled_by_the_prices_of_the_run(scene: Scene) -> None:
    async def prices(names: Iterable[str]) -> dict[str, Price]:
        return {name: Price(input="1000", output="100000") for name in names}

    intake = Intake(scene.queue, Secrets(), prices=prices)
    key = await scene.key(cost_per_day=Decimal(60))
    run_id = (await intake.submit(ITEM, SPEC, key="1", owner=key.id)).run_id
    assert (await scene.usage(key)).taken.reserved.cost == 60, "only the key bounds it"
    assert (await refused(intake.submit(ITEM, SPEC, key="2", owner=key.id))).code == "day_budget_reserved"
    claim = await scene.queue.claim(run_id, "me")
    assert claim is not None
    await scene.journal.intend(claim.hold, [Path(1, 0, 0)], AT)
    await scene.journal.append(claim.hold, answered(Path(1, 0, 0), input_tokens=1000, output_tokens=7))
    await scene.journal.finish(claim.hold, "success", 1.0, 1)
    await scene.queue.done(claim)
    with psycopg.connect(scene.url) as db:
        assert db.execute("SELECT cost FROM orca_agent.reservations").fetchone() == (Decimal("1.7"),)
    budget = Budget(cost="50")
    bounded = json.dumps({**json.loads(SPEC), "budget": {"cost": "10"}}).encode()
    for name in ("3", "4"):
        await intake.submit(Item.local(bounded), bounded, key=name, owner=key.id, budgets=(budget,))
    assert (await scene.usage(key)).taken.reserved.cost == 20, "runs with budgets of their own stand side by side"
