"""From a lease to a proof that stands in a round: on a real queue, journal and middle server, with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.rounds.middle import MiddleClient, Todo
from orca_agent.rounds.working import Working, WorkParts, deadline_of, open_todo, refuse_unpaid
from orca_agent.store.events import EventLog
from orca_agent.store.journal import RunRecord
from orca_agent.store.postgres import PostgresJournal
from orca_agent.store.records import Assignment, NodeRecords, State
from orca_agent.work.events import OnEvent
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_agent.work.worker import Worker
from orca_engine import REVISION
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.budget import Budget
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.lease import AllowedModel, Lease, sign_lease
from orca_protocol.round_value import PROOFS_MAX
from proof_store.base import MemoryBlocks
from proof_store.cid import Cid
from proof_store.reader import read_directory
from tests.fakes.scripted_model import ScriptedModel
from tests.integration.middle_server.room import SERVER_KEY, cid_of
from tests.unit.koii_chain.tasks import TASK
from tests.unit.orca_agent.rounds.serving import ServedRoom, identity, node_settings, served_room, until
from tests.unit.orca_engine.worlds import World, failing

AGENTS = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in ("A", "B")]
SPEC = {"task": "T", "swarm_type": "SequentialWorkflow", "agents": AGENTS}
TEXT = json.dumps(SPEC)


# -- what needs no world ------------------------------------------------------------------------------------------------------


def lease(**fields: Any) -> Lease:
    known: dict[str, Any] = {
        "lease_id": "lease-1",
        "work_item": "item-1",
        "spec_sha256": sha256_hex(TEXT.encode()),
        "requester": identity(9).key,
        "price": "5",
        "worker": identity().key,
        "payout": identity().account,
        "fencing_token": "3",
        "issued": "2026-01-01T00:00:00.000Z",
        "expires": "2026-01-01T00:10:00.000Z",
        "network": "devnet-1",
        "task_id": TASK,
        "engine_revision": REVISION,
        "models": (AllowedModel(name="scripted"),),
        "required_checks": ("integrity", "authenticity", "replay"),
        "pays_partial": False,
    }
    return Lease(**(known | fields))


def todo(given: Lease | None = None, signed_by: Any = SERVER_KEY, **fields: Any) -> Todo:
    known: dict[str, Any] = {
        "id": "item-1",
        "leaseId": "lease-1",
        "fencingToken": "3",
        "heartbeatSeconds": 90,
        "lease": sign_lease(given or lease(), signed_by).decode(),
        "spec": TEXT,
    }
    return Todo(**(known | fields))


def test_a_lease_that_is_what_it_was_given_for_opens() -> None:
    assert open_todo(todo(), node_settings(), identity()) == lease()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (todo(lease(worker=identity(2).key)), "worker"),
        (todo(spec=TEXT + " "), "spec_sha256"),
        (todo(lease(spec_sha256="0" * 64)), "spec_sha256"),
        (todo(id="item-2"), "work_item"),
        (todo(fencingToken="4"), "fencing_token"),
        (todo(lease(network="devnet-2")), "network"),
        (todo(lease(task_id="another")), "task_id"),
        (todo(lease(engine_revision=REVISION + 1)), "engine_revision"),
    ],
)
def test_a_lease_of_anything_else_is_refused_by_name(wrong: Todo, name: str) -> None:
    with pytest.raises(InvalidError, match=rf"lease_differs.* {name} "):
        open_todo(wrong, node_settings(), identity())


def test_a_lease_of_another_server_is_refused() -> None:
    with pytest.raises(InvalidError, match="signer"):
        open_todo(todo(signed_by=identity(5).staking), node_settings(), identity())


@pytest.mark.parametrize(
    ("expires", "ends"),
    [("2026-01-01T00:10:00.000Z", 570.0), ("2026-01-01T00:01:00.000Z", 30.0), ("2026-01-01T00:00:10.000Z", 5.0)],
)
def test_a_run_ends_before_its_lease_whenever_it_began(expires: str, ends: float) -> None:
    issued = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert deadline_of(lease(expires=expires)) - issued == ends


def finished(answer: Callable[[Any], Any] | None = None) -> Finished:
    spec = json.dumps(SPEC | {"swarm_type": "ConcurrentWorkflow"}).encode()
    item = Item.local(spec)
    entries, _ = World(item, answer=answer).run() if answer else World(item).run()
    kept = tuple(sorted(entries, key=lambda entry: entry.path))
    return Finished(RunRecord("r", item.id, spec, 1.0, None, "success", 2.0), item, kept, replay(item, kept), 2.0)


def admitting(done: Finished, **fields: Any) -> Lease:
    names = {entry.answer.model.model for entry in done.entries if entry.answer is not None}
    return lease(models=tuple(AllowedModel(name=name) for name in sorted(names)) or (AllowedModel(name="m"),), **fields)


def test_a_result_that_its_lease_pays_for_is_not_refused() -> None:
    refuse_unpaid(finished(), admitting(finished()))


def test_a_partial_result_is_refused_unless_the_lease_pays_for_it() -> None:
    partial = finished(failing("B"))
    assert partial.output.status == "partial"
    with pytest.raises(InvalidError, match=r"result_not_payable.*partial"):
        refuse_unpaid(partial, admitting(partial))
    refuse_unpaid(partial, admitting(partial, pays_partial=True))


def test_a_result_without_any_answer_is_refused_whatever_the_lease_says() -> None:
    failed = finished(failing("A", "B"))
    assert failed.output.status == "error"
    with pytest.raises(InvalidError, match="result_not_payable"):
        refuse_unpaid(failed, admitting(failed, pays_partial=True))


def test_an_answer_of_a_model_that_the_lease_does_not_admit_is_refused() -> None:
    with pytest.raises(InvalidError, match="model_not_leased"):
        refuse_unpaid(finished(), lease(models=(AllowedModel(name="another"),)))


# -- in the world -------------------------------------------------------------------------------------------------------------


class Crash(Exception):  # noqa: N818 - it is what happens
    """The process ends here."""


class Records(NodeRecords):
    """Records whose process ends before or after a move is kept."""

    crash: tuple[str, str] | None = None

    async def move(self, assignment: Assignment, state: State, **fields: Any) -> Assignment:
        step = "run stored" if "run_id" in fields else state
        if self.crash == ("before", step):
            raise Crash
        moved = await super().move(assignment, state, **fields)
        if self.crash == ("after", step):
            raise Crash
        return moved


class Scene:
    """One node at work."""

    def __init__(self, room: ServedRoom, middle: MiddleClient, records: Records, queue: RunQueue, journal: PostgresJournal) -> None:
        self.room, self.middle, self.records, self.queue, self.journal = room, middle, records, queue, journal
        self.model, self.blocks = ScriptedModel(), MemoryBlocks()
        self.registry = Registry([self.model], {})
        self.chain_error: OrcaError | None = None
        self.budget = Budget()
        self.working = self.node()

    def node(self) -> Working:
        """The node, started anew: nothing is left of it but what it kept."""
        parts = WorkParts(
            identity(),
            self.middle,
            self.records,
            self.queue,
            Intake(self.queue, Secrets()),
            self.journal,
            self.registry,
            self.blocks,
            self.current_round,
            budget=self.budget,
        )
        self.working = Working(node_settings(), parts)
        return self.working

    async def current_round(self) -> int:
        if self.chain_error is not None:
            raise self.chain_error
        return self.room.chain.round

    def runner(self, _: RunRecord, on_event: OnEvent) -> Runner:
        return Runner(self.journal, self.registry, Secrets(), options=RunOptions(follow=True), on_event=on_event)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.working.serve())
        try:
            yield
            assert not serving.done(), "the node goes on working"
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def last(self) -> Assignment | None:
        found = await self.records.recent_assignments(1)
        return found[0] if found else None

    def state(self, wanted: State) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            found = await self.records.recent_assignments()
            return any(one.state == wanted for one in found)

        return reached

    def reported(self) -> list[tuple[Any, ...]]:
        return self.room.sql("SELECT cid, round FROM middle.results")


@pytest.fixture
async def scene(database_url: str, middle_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    policy = LeasePolicy(ttl=10.0, beat=0.1, sweep=0.05, wait_first=0.05, wait_max=0.1)
    async with (
        served_room(middle_url, heartbeat_seconds=3) as room,
        Records(database_url) as records,
        RunQueue(database_url, policy) as queue,
        EventLog(database_url) as events,
    ):
        middle = room.client_of()
        made = Scene(room, middle, records, queue, journal)
        serving = asyncio.create_task(Worker(queue, events, made.runner).serve(grace=0.0))
        yield made
        serving.cancel()
        await asyncio.wait([serving])
    await journal.close()


async def test_a_work_item_goes_from_its_lease_into_a_round(scene: Scene) -> None:
    item = await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("entered"))
        await until(lambda: scene.working.idle is not None)
    done = await scene.last()
    assert done is not None
    assert (done.state, done.round) == ("entered", 7)
    assert scene.reported() == [(done.cid, 7)]
    assert await scene.room.status(item) == "in_review"
    files = read_directory(Cid.parse(str(done.cid)), scene.blocks)
    assert {"lease.dsse.json", "submission.json", "statement.dsse.json", "journal.jsonl"} <= files.keys()
    assert [call.agent for call in scene.model.calls] == ["A", "B"]
    assert (scene.working.doing, scene.working.run_id) == (None, None)


async def test_where_there_is_no_work_no_row_is_left_and_the_reason_is_said(scene: Scene) -> None:
    async with scene.at_work():
        await until(lambda: scene.working.asked >= 2)
        assert str(scene.working.idle).startswith("nothing_available: ")
        assert scene.working.doing is None
    assert [one.state for one in await scene.records.recent_assignments() if one.state != "claiming"] == []
    assert len(await scene.records.recent_assignments()) <= 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["leased", "run stored", "proved", "reported", "entered"])
async def test_a_restart_goes_on_where_it_was_and_does_nothing_twice(scene: Scene, step: str, when: str) -> None:
    item = await scene.room.item(spec=SPEC)
    scene.records.crash = (when, step)
    with pytest.raises(Crash):
        await asyncio.wait_for(scene.working.serve(), 20)
    scene.records.crash = None
    scene.node()
    async with scene.at_work():
        await until(scene.state("entered"))
    made = [one for one in await scene.records.recent_assignments() if one.todo is not None]
    assert [one.state for one in made] == ["entered"], [one.ending for one in made]
    assert scene.reported() == [(made[0].cid, 7)]
    assert await scene.room.status(item) == "in_review"
    assert [call.agent for call in scene.model.calls] == ["A", "B"]
    assert scene.room.sql("SELECT count(*) FROM middle.leases") == [(1,)]


async def test_a_lost_lease_ends_the_run_and_the_assignment(scene: Scene) -> None:
    scene.model.latency["A"] = 30.0
    item = await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(lambda: scene.model.in_flight == 1)
        run_id = str(scene.working.run_id)
        assert scene.working.doing == f"work item {item}"
        cancelled = await scene.room.client.post(f"/v1/work-items/{item}/cancel", headers=scene.room.person)
        assert cancelled.status_code == 200, cancelled.text
        await until(scene.state("closed"))
        await until(lambda: scene.model.in_flight == 0)
    assert (await scene.queue.state(run_id)).is_cancelled
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert [one.ending for one in closed] == ["lease_lost: lease_ended"]
    assert scene.reported() == []


async def test_a_run_whose_heartbeat_is_refused_for_another_reason_is_ended_too(scene: Scene, monkeypatch: Any) -> None:
    scene.model.latency["A"] = 30.0

    async def refuse(*_: Any) -> None:
        if scene.model.in_flight:
            raise InvalidError("gateway_bad", "no such gateway")

    monkeypatch.setattr(scene.middle, "beat", refuse)
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("closed"))
        await until(lambda: scene.model.in_flight == 0)
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert [one.ending for one in closed] == ["given_back: gateway_bad: no such gateway"]


async def test_a_heartbeat_that_does_not_come_through_loses_nothing(scene: Scene, monkeypatch: Any) -> None:
    beats = 0

    async def away(*_: Any) -> None:
        nonlocal beats
        beats += 1
        raise UnavailableError("middle_server_unavailable", "away")

    monkeypatch.setattr(scene.middle, "beat", away)
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("entered"))
    assert beats >= 1


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"spec": SPEC | {"agents": [AGENTS[0] | {"model_name": "gpt-9"}]}, "models": [{"name": "gpt-9"}]}, "model_unavailable"),
        ({"spec": SPEC, "models": [{"name": "another"}]}, "model_not_leased"),
    ],
)
async def test_an_item_that_this_node_cannot_be_paid_for_is_given_back_before_anything_is_asked(
    scene: Scene, item: dict[str, Any], reason: str
) -> None:
    name = await scene.room.item(**item)
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith(f"given_back: {reason}: ")
    assert scene.model.calls == []
    assert await scene.room.status(name) in ("queued", "failed")


async def test_an_item_whose_models_server_is_down_is_given_back_before_it_is_begun(scene: Scene) -> None:
    scene.model.listing_error = UnavailableError("connect_failed", "nobody there")
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith("given_back: model_unavailable: ")
    assert "nobody there" in str(closed[-1].ending)


async def test_a_run_that_was_begun_outlives_a_restart_before_its_models_server(scene: Scene) -> None:
    item = await scene.room.item(spec=SPEC)
    scene.records.crash = ("after", "run stored")
    with pytest.raises(Crash):
        await asyncio.wait_for(scene.working.serve(), 20)
    scene.records.crash = None
    down, of_the_worker = ScriptedModel(), scene.registry
    down.listing_error = UnavailableError("connect_failed", "it loads its weights")
    scene.registry = Registry([down], {})
    scene.node()
    scene.registry = of_the_worker
    async with scene.at_work():
        await until(scene.state("entered"))
    assert await scene.room.status(item) == "in_review"


async def test_an_item_that_may_use_more_than_the_node_allows_is_given_back(scene: Scene) -> None:
    scene.budget = Budget(calls=1)
    scene.node()
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith("given_back: beyond_budget: ")
    assert str(closed[-1].ending).endswith("where 1 is allowed")
    assert scene.model.calls == []


async def test_an_item_that_asks_a_person_is_given_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("middle_server.api.work_items.inputs_at_most", lambda spec: 0)  # a server that lets it through
    await scene.room.item(spec=SPEC | {"swarm_type": "AgentRearrange", "rearrange_flow": "A -> H"})
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith("given_back: nobody_to_ask: ")
    assert scene.model.calls == []


async def test_a_result_that_no_lease_pays_for_is_given_back(scene: Scene) -> None:
    scene.model.failures["A"] = [InvalidError("content_refused", "no")] * 20
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith("given_back: result_not_payable: ")
    assert scene.reported() == []


async def test_a_proof_that_misses_its_round_before_it_is_reported_is_proved_again_for_the_round_of_now(scene: Scene) -> None:
    await scene.room.item(spec=SPEC)
    scene.records.crash = ("after", "proved")
    with pytest.raises(Crash):
        await asyncio.wait_for(scene.working.serve(), 20)
    scene.records.crash = None
    await scene.records.keep_submission(7, "idle:no_work")
    scene.room.chain.round = 8
    scene.node()
    async with scene.at_work():
        await until(scene.state("entered"))
    (made,) = [one for one in await scene.records.recent_assignments() if one.state == "entered"]
    assert scene.reported() == [(made.cid, 8)]
    assert [call.agent for call in scene.model.calls] == ["A", "B"]


async def test_a_proof_that_misses_its_round_after_it_was_reported_is_given_up(scene: Scene) -> None:
    await scene.room.item(spec=SPEC)
    scene.records.crash = ("after", "reported")
    with pytest.raises(Crash):
        await asyncio.wait_for(scene.working.serve(), 20)
    scene.records.crash = None
    await scene.records.keep_submission(7, "idle:no_work")
    scene.node()
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[0].ending).startswith("round_missed: ")
    assert [row[1] for row in scene.reported()] == [None]


async def test_no_more_is_taken_than_a_rounds_submission_holds(scene: Scene) -> None:
    await scene.room.item(spec=SPEC)
    for number in range(PROOFS_MAX):
        claim = await scene.records.begin_claim(f"claim {number}")
        await scene.records.move(claim, "entered", round=7, cid=cid_of(str(number)), todo="{}")
    async with scene.at_work():
        await until(lambda: str(scene.working.idle).startswith("round_full: "))
        assert await scene.records.open_assignments() == []
        scene.room.chain.round = 8
        await until(lambda: scene.model.calls != [])


@pytest.mark.parametrize("error", [UnavailableError("rpc_down", "no endpoint"), InvalidError("before_start", "not yet")])
async def test_without_a_round_of_now_nothing_is_taken(scene: Scene, error: OrcaError) -> None:
    scene.chain_error = error
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(lambda: scene.working.idle == f"{error.code}: {error.detail}")
    assert await scene.records.recent_assignments() == []


async def test_a_server_that_is_away_is_asked_again_under_the_same_claim(scene: Scene, monkeypatch: Any) -> None:
    claims: list[str] = []

    async def away(claim: str) -> Todo:
        claims.append(claim)
        raise UnavailableError("middle_server_unavailable", "away")

    monkeypatch.setattr(scene.middle, "fetch_todo", away)
    async with scene.at_work():
        await until(lambda: len(claims) == 3)
        assert scene.working.idle == "middle_server_unavailable: away"
    assert len(set(claims)) == 1


async def test_a_clock_far_behind_the_servers_gives_the_item_back(scene: Scene) -> None:
    scene.room.later(25.0)
    await scene.room.item(spec=SPEC)
    async with scene.at_work():
        await until(scene.state("closed"))
    closed = [one for one in await scene.records.recent_assignments() if one.state == "closed"]
    assert str(closed[-1].ending).startswith("given_back: clock_behind: ")
