"""REA-7: a run that asks a person waits for them without a worker, across restarts, and hears each answer once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from pydantic import SecretStr

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.database import parameters
from orca_agent.store.events import EventLog
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.finished import read_finished
from orca_agent.work.inputs import Given, Question, chosen
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.live import InputAwaitedError
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished, Runner
from orca_agent.work.states import RunState
from orca_agent.work.worker import Worker
from orca_engine.item import Item
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Path
from orca_protocol.world import Input, InputRequest
from tests.fakes.scripted_model import ScriptedModel

POLICY = LeasePolicy(ttl=10.0, beat=0.5, sweep=0.05, announce_again=0.5, attempts=2)
AT_H = Path(1, 1, 0)


def spec_for(flow: str) -> bytes:
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in "ABC"]
    return json.dumps({"task": "T", "swarm_type": "AgentRearrange", "rearrange_flow": flow, "agents": agents}).encode()


class Scene:
    """A queue and workers that come and go."""

    def __init__(self, url: str, queue: RunQueue, events: EventLog, journal: PostgresJournal) -> None:
        self.url, self.queue, self.events, self.journal = url, queue, events, journal
        self.model = ScriptedModel()
        self.intake = Intake(queue, Secrets([SecretStr("a secret of this node")]))

    def worker(self) -> Worker:
        registry = Registry([self.model], {})
        return Worker(self.queue, self.events, lambda _, on_event: Runner(self.journal, registry, Secrets(), on_event=on_event))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self.worker().serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def awaiting(self, flow: str = "A -> H -> B", *, timeout: float | None = None) -> str:
        """Store a run and take it as far as it goes without a person."""
        spec = spec_for(flow)
        run_id = (await self.intake.submit(Item.local(spec), spec, key="key", timeout=timeout)).run_id
        await self.worker().work(run_id)
        return run_id

    async def say(self, run_id: str, text: str, path: str | None = None, key: str | None = None) -> None:
        await self.intake.give_input(run_id, Given(Input(content=text), path, key))

    async def ended(self, run_id: str) -> RunState:
        async with asyncio.timeout(10):
            while (state := await self.queue.state(run_id)).run.status is None:
                await asyncio.sleep(0.02)
        return state

    async def finished(self, run_id: str) -> Finished:
        return await read_finished((await self.ended(run_id)).run, self.journal)

    async def kinds(self, run_id: str) -> list[str]:
        return [event.kind for event in await self.events.read(run_id, 0)]

    async def execute(self, sql: str) -> None:
        async with await psycopg.AsyncConnection.connect(**parameters(self.url, "test"), autocommit=True) as db:
            await db.execute(sql.encode())

    @property
    def asked(self) -> list[str]:
        return [call.agent for call in self.model.calls]


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    journal = PostgresJournal(database_url)
    async with RunQueue(database_url, POLICY) as queue, EventLog(database_url) as events:
        yield Scene(database_url, queue, events, journal)
    await journal.close()


async def test_rea_7_a_run_waits_for_a_person_and_goes_on_with_what_they_say(scene: Scene) -> None:
    run_id = await scene.awaiting()
    state = await scene.queue.state(run_id)
    assert (state.status, state.holder, state.attempts, scene.asked) == ("awaiting_input", None, 0, ["A"])
    (question,) = await scene.queue.questions(run_id)
    assert (question.path, question.step) == (AT_H, "H")
    assert [message.content for message in question.request.messages] == ["T", "A: out(A,1)"]
    await scene.say(run_id, "OK")
    assert (await scene.queue.state(run_id)).status == "queued"
    async with scene.working():
        finished = await scene.finished(run_id)
    assert scene.asked == ["A", "B"]
    prompt = "\n".join(message.content for message in scene.model.calls[1].request.messages)
    assert "out(A,1)" in prompt
    assert "OK" in prompt
    assert [(message.role, message.content) for message in finished.output.output] == [
        ("A", "out(A,1)"),
        ("H", "OK"),
        ("B", "out(B,1)"),
    ]
    assert finished.entries[1].input == Input(content="OK")
    kinds = await scene.kinds(run_id)
    assert kinds.count("awaiting_input") == kinds.count("input_given") == 1
    assert kinds.index("awaiting_input") < kinds.index("input_given") < kinds.index("finished")


async def test_what_was_said_survives_a_worker_that_dies_before_it_is_journaled(scene: Scene) -> None:
    run_id = await scene.awaiting()
    await scene.say(run_id, "OK")
    assert await scene.queue.claim(run_id, "a worker that dies now") is not None
    await scene.execute("UPDATE queue SET due = now() WHERE holder IS NOT NULL")
    async with scene.working():
        assert (await scene.finished(run_id)).output.output[1].content == "OK"
    assert scene.asked == ["A", "B"]


async def test_a_worker_that_dies_while_it_says_that_the_run_waits_makes_it_wait_again(scene: Scene) -> None:
    run_id = await scene.awaiting()
    await scene.execute("UPDATE queue SET is_awaiting = false, due = now()")
    async with scene.working():
        async with asyncio.timeout(10):
            while (await scene.queue.state(run_id)).status != "awaiting_input":
                await asyncio.sleep(0.02)
        assert scene.asked == ["A"]
        await scene.say(run_id, "OK")
        assert (await scene.finished(run_id)).output.status == "success"


async def test_the_first_answer_counts(scene: Scene) -> None:
    run_id = await scene.awaiting()
    await scene.say(run_id, "OK", key="one")
    await scene.say(run_id, "OK", key="one")
    await scene.say(run_id, "OK")
    with pytest.raises(InvalidError, match="input_given"):
        await scene.say(run_id, "not OK")
    with pytest.raises(InvalidError, match="idempotency_conflict"):
        await scene.say(run_id, "not OK", key="one")
    async with scene.working():
        finished = await scene.finished(run_id)
        await scene.say(run_id, "OK", key="one")  # who asks again after the end hears the same
    assert finished.output.output[1].content == "OK"
    assert (await scene.kinds(run_id)).count("input_given") == 1


async def test_of_many_answers_at_once_one_is_kept(scene: Scene) -> None:
    run_id = await scene.awaiting()
    said = await asyncio.gather(*(scene.say(run_id, f"{number}") for number in range(8)), return_exceptions=True)
    refused = [error for error in said if isinstance(error, InvalidError)]
    assert (len(refused), {error.code for error in refused}) == (7, {"input_given"})


async def test_a_key_keeps_a_repeated_answer_from_the_next_question(scene: Scene) -> None:
    run_id = await scene.awaiting("A -> H -> H -> B")
    await scene.say(run_id, "first", key="one")
    await scene.worker().work(run_id)
    assert (await scene.queue.state(run_id)).status == "awaiting_input"
    await scene.say(run_id, "first", key="one")
    (question,) = await scene.queue.questions(run_id)
    assert question.path == Path(1, 2, 0)
    await scene.say(run_id, "second", key="two")
    await scene.worker().work(run_id)
    finished = await scene.finished(run_id)
    assert [message.content for message in finished.output.output][1:3] == ["first", "second"]


async def test_several_questions_are_answered_each_by_its_path_also_while_the_run_goes_on(scene: Scene) -> None:
    run_id = await scene.awaiting("H, A, H -> B")
    assert scene.asked == ["A"], "a person does not hold up the agents beside them"
    assert [str(question.path) for question in await scene.queue.questions(run_id)] == ["1.0.0.0.0", "1.0.2.0.0"]
    with pytest.raises(InvalidError, match=r"input_path.*1\.0\.0\.0\.0, 1\.0\.2\.0\.0"):
        await scene.say(run_id, "who?")
    await scene.say(run_id, "left", "1.0.0.0.0")
    claim = await scene.queue.claim(run_id, "me")
    assert claim is not None
    known = await scene.queue.inputs(run_id)
    await scene.say(run_id, "right", "1.0.2.0.0")  # too late for this worker to have read it
    runner = Runner(scene.journal, Registry([scene.model], {}), Secrets())
    with pytest.raises(InputAwaitedError) as waiting:
        await runner.go_on(Item.local(claim.run.spec), claim.run, claim.hold, known)
    assert [call.path for call in waiting.value.calls] == [Path(1, 0, 2)]
    await scene.queue.await_input(claim, waiting.value.calls)
    assert (await scene.queue.state(run_id)).status == "queued", "it was answered meanwhile, and waits for nobody"
    async with scene.working():
        finished = await scene.finished(run_id)
    assert [message.content for message in finished.output.output] == ["left", "out(A,1)", "right", "out(B,1)"]


async def test_cancelled_while_it_waits_it_ends_with_what_was_said(scene: Scene) -> None:
    run_id = await scene.awaiting()
    async with scene.working():
        await scene.queue.cancel(run_id)
        finished = await scene.finished(run_id)
    assert (finished.output.status, finished.output.stopped, scene.asked) == ("partial", "cancelled", ["A"])
    assert finished.output.output[0].content == "out(A,1)"
    with pytest.raises(InvalidError, match="run_ended"):
        await scene.say(run_id, "too late")
    assert await scene.queue.inputs(run_id) == {}


async def test_a_cancel_whose_announcement_is_lost_ends_the_run_that_waits_all_the_same(scene: Scene) -> None:
    run_id = await scene.awaiting()
    await scene.queue.cancel(run_id)
    async with await psycopg.AsyncConnection.connect(**parameters(scene.url, "test"), autocommit=True) as db:
        await db.execute("DELETE FROM orca_agent.procrastinate_jobs")
    async with scene.working():
        assert (await scene.finished(run_id)).output.stopped == "cancelled"


async def test_its_time_goes_on_while_it_waits(scene: Scene) -> None:
    run_id = await scene.awaiting(timeout=1.0)
    assert (await scene.queue.state(run_id)).status == "awaiting_input"
    async with scene.working():
        finished = await scene.finished(run_id)
    assert (finished.output.status, finished.output.stopped, scene.asked) == ("partial", "deadline", ["A"])


async def test_a_run_that_waits_is_not_taken_from_those_who_wait_to_begin(scene: Scene) -> None:
    await scene.awaiting()
    depth = await scene.queue.depth()
    assert (depth.queued, depth.running, depth.awaiting, depth.unfinished) == (0, 0, 1, 1)
    assert [state.status for state in await scene.queue.states(status="awaiting_input", after=0, limit=9)] == ["awaiting_input"]
    assert await scene.queue.sweep() == 0


async def test_a_run_that_asks_nobody_takes_no_answer(scene: Scene) -> None:
    spec = spec_for("A -> B")
    run_id = (await scene.intake.submit(Item.local(spec), spec, key="key")).run_id
    with pytest.raises(InvalidError, match="not_awaiting"):
        await scene.say(run_id, "OK")
    with pytest.raises(InvalidError, match="run_unknown"):
        await scene.say("none", "OK")


async def test_a_secret_of_the_node_does_not_enter_a_journal(scene: Scene) -> None:
    run_id = await scene.awaiting()
    with pytest.raises(InvalidError, match="secret_in_input"):
        await scene.say(run_id, "it is a secret of this node")
    assert await scene.queue.inputs(run_id) == {}


def test_which_question_an_answer_is_for() -> None:
    def question(step: int, said: str | None = None, key: str | None = None) -> Question:
        return Question(Path(1, step, 0), "H", InputRequest(messages=()), None if said is None else Input(content=said), key)

    def given(said: str, path: str | None = None, key: str | None = None) -> Given:
        return Given(Input(content=said), path, key)

    first, second = question(1, "a", "k"), question(2)
    assert chosen([first, second], given("b")) is second
    assert chosen([first, second], given("a", key="k")) is first
    assert chosen([first, second], given("a", "1.1.0.0.0")) is first
    assert chosen([first, second], given("a", "1.2.0.0.0")) is second
    for wrong, code in (
        (given("b", "1.1.0.0.0"), "input_given"),
        (given("a", "1.2.0.0.0", "k"), "idempotency_conflict"),
        (given("b", "1.3.0.0.0"), "not_awaiting"),
    ):
        with pytest.raises(InvalidError, match=code):
            chosen([first, second], wrong)
