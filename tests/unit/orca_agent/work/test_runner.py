"""A runner over a real SQLite journal and a scripted model: fields reach the model, faults end typed, runs resume."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Any

import pytest
from pydantic import SecretStr

from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.observe.secrets import STRUCK, Secrets
from orca_agent.store import sqlite
from orca_agent.store.sqlite import SqliteJournal, _write
from orca_agent.work.events import CallFinished, CallRestarted, CallStarted, Delta, Event, ModelResolved, RunStarted
from orca_agent.work.response import completion
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.budget import Budget
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import TokenLogprob
from tests.fakes.scripted_model import ScriptedModel, agent_of

KEY = "sk-this-is-a-secret-key"
QUICK = Policy(attempts=3, base=0.0)


def spec_of(*names: str, **fields: Any) -> bytes:
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in names]
    return json.dumps({"task": "TASK", "agents": agents, "swarm_type": "ConcurrentWorkflow", **fields}).encode()


class Bench:
    """A runner and everything it was built from."""

    def __init__(self, folder: FilePath) -> None:
        self.model = ScriptedModel()
        self.aliases: dict[str, str] = {}
        self.journal = SqliteJournal(folder / "journal.db")
        self.events: list[Event] = []

    def runner(self, **options: Any) -> Runner:
        registry = Registry([self.model], self.aliases)
        made = RunOptions(**{"retry": QUICK, **options})
        return Runner(self.journal, registry, Secrets([SecretStr(KEY)]), options=made, on_event=self.events.append)

    async def run(self, spec: bytes, *, timeout: float | None = None, resume: bool = False, **options: Any) -> Finished:
        return await self.runner(**options).run(Item.local(spec), spec, timeout=timeout, resume=resume)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def bench(tmp_path: FilePath) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.journal.close()


async def test_a_run_answers_in_the_shape_of_the_swarms_api(bench: Bench) -> None:
    finished = await bench.run(spec_of("A", "B", name="N", description="D"))
    response = completion(finished)
    assert response["output"] == [{"role": "A", "content": "out(A,1)"}, {"role": "B", "content": "out(B,1)"}]
    assert (response["status"], response["swarm_name"], response["number_of_agents"]) == ("success", "N", 2)
    assert response["usage"]["output_tokens"] == 2
    assert response["usage"]["cost"] is None
    assert replay(finished.item, finished.entries) == finished.output


async def test_what_a_run_counted_and_noted_is_in_the_response(bench: Bench) -> None:
    response = completion(await bench.run(spec_of("A", "B", swarm_type="MajorityVoting", voting="exact")))
    assert response["votes"] == [{"answer": "out(A,1)", "votes": 1}, {"answer": "out(B,1)", "votes": 1}]
    assert [note["code"] for note in response["notes"]] == ["tie"]
    plain = completion(await bench.run(spec_of("A")))
    assert not {"votes", "notes", "tasks_completed", "generated_spec"} & set(plain)


async def test_asb_1_a_team_that_a_model_designed_runs_and_its_spec_is_in_the_response(bench: Bench) -> None:
    team = {"swarm_type": "SequentialWorkflow", "agents": [{"agent_name": n, "system_prompt": f"AGENT:{n}"} for n in "XY"]}
    bench.model.reply = lambda _, request: json.dumps(team) if agent_of(request) == "?" else f"{agent_of(request)} speaks"
    spec = json.dumps({"task": "TASK", "swarm_type": "AutoSwarmBuilder", "lead": {"model_name": "scripted"}}).encode()
    finished = await bench.run(spec)
    response = completion(finished)
    assert response["output"] == [{"role": name, "content": f"{name} speaks"} for name in "XY"]
    assert (response["number_of_agents"], response["resolved_swarm_type"]) == (2, "SequentialWorkflow")
    assert [agent["agent_name"] for agent in response["generated_spec"]["agents"]] == ["X", "Y"]
    assert replay(finished.item, finished.entries) == finished.output


@pytest.mark.parametrize(
    "fields", [{"lead": {"model_name": "unheard-of"}}, {"lead": {"model_name": "scripted"}, "allowed_models": ["unheard-of"]}]
)
async def test_models_of_the_lead_and_of_a_team_to_come_are_looked_up_before_anything_is_asked(
    bench: Bench, fields: dict[str, Any]
) -> None:
    spec = json.dumps({"task": "TASK", "swarm_type": "AutoSwarmBuilder", **fields}).encode()
    with pytest.raises(InvalidError, match="unheard-of"):
        await bench.run(spec)
    assert bench.model.calls == []


async def test_a_failed_agent_is_shown_with_null_content_and_its_error(bench: Bench) -> None:
    bench.model.failures["B"] = [InvalidError("bad_request", "no")]
    response = completion(await bench.run(spec_of("A", "B")))
    assert response["status"] == "partial"
    assert response["output"][1] == {"role": "B", "content": None, "error": {"code": "bad_request", "detail": "no"}}


async def test_con_4_attempts_are_made_in_one_place_and_are_metadata_of_one_entry(bench: Bench) -> None:
    bench.model.failures["B"] = [UnavailableError("overloaded", "busy")] * 9
    finished = await bench.run(spec_of("A", "B"))
    assert sum(call.agent == "B" for call in bench.model.calls) == 3
    assert [attempt.outcome for attempt in finished.entries[1].attempts] == ["overloaded"] * 3
    assert len(finished.entries) == 2


async def test_con_7_a_bound_on_calls_in_flight_is_kept_and_the_order_too(bench: Bench) -> None:
    bench.model.latency["*"] = 0.005
    names = [f"A{number}" for number in range(20)]
    finished = await bench.run(spec_of(*names), in_flight=5)
    assert bench.model.max_in_flight == 5
    assert [message.role for message in finished.output.output] == names


async def test_a_model_that_is_not_there_is_refused_before_anything_is_asked_or_journaled(bench: Bench) -> None:
    spec = spec_of("A").replace(b'"scripted"', b'"gpt-9"')
    with pytest.raises(InvalidError, match="model_unavailable"):
        await bench.run(spec)
    assert bench.model.calls == []
    assert await bench.journal.latest(Item.local(spec).id) is None


async def test_an_alias_is_said_aloud_and_the_journal_names_who_really_answered(bench: Bench) -> None:
    bench.aliases["gpt-4o"] = "scripted"
    finished = await bench.run(spec_of("A").replace(b'"scripted"', b'"gpt-4o"'))
    assert bench.seen(ModelResolved) == [ModelResolved("gpt-4o", "scripted", "scripted", True)]
    (entry,) = finished.entries
    assert entry.asked.model == "gpt-4o"
    assert entry.answer is not None
    assert entry.answer.model.model == "scripted"


async def test_followers_hear_every_agent_start_speak_and_end(bench: Bench) -> None:
    await bench.run(spec_of("A", "B"), follow=True)
    assert {event.name for event in bench.seen(CallStarted)} == {"A", "B"}
    assert "".join(event.text for event in bench.seen(Delta) if event.name == "A") == "out(A,1)"
    assert len(bench.seen(CallFinished)) == 2
    assert bench.seen(RunStarted)[0].answered == 0


async def test_a_deadline_ends_the_run_and_keeps_what_was_answered(bench: Bench) -> None:
    bench.model.latency["B"] = 30
    finished = await bench.run(spec_of("A", "B"), timeout=1.5)  # ample for A, far too short for B
    assert (finished.output.status, finished.output.stopped) == ("partial", "deadline")
    assert finished.output.output[0].content == "out(A,1)"
    assert bench.model.in_flight == 0
    assert replay(finished.item, finished.entries) == finished.output


async def test_a_cancel_ends_the_run_and_keeps_what_was_answered(bench: Bench) -> None:
    bench.model.latency["B"] = 30
    runner = bench.runner()
    spec = spec_of("A", "B")
    task = asyncio.create_task(runner.run(Item.local(spec), spec))
    while not bench.seen(CallFinished):
        await asyncio.sleep(0.005)
    runner.stop("cancelled")
    finished = await task
    assert (finished.output.status, finished.output.stopped) == ("partial", "cancelled")


async def test_each_answer_is_kept_by_the_write_that_intends_the_next_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run and first intent, four times an answer and the next intent, the last answer and the end."""
    batches: list[int] = []

    def write(db: Any, batch: list[Any], broken: Any) -> Any:
        batches.append(len(batch))
        return _write(db, batch, broken)

    monkeypatch.setattr(sqlite, "_write", write)
    finished = await bench.run(spec_of(*"ABCDE", swarm_type="SequentialWorkflow"))
    assert finished.output.status == "success"
    assert batches == [2, 2, 2, 2, 2, 2]


async def test_a_run_whose_beginning_cannot_be_kept_asks_nothing_and_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(self: SqliteJournal, run: Any) -> Any:
        await asyncio.sleep(0)
        raise UnavailableError("journal_unavailable", "disk full")

    monkeypatch.setattr(SqliteJournal, "begin", begin)
    with pytest.raises(UnavailableError, match="disk full"):
        await bench.run(spec_of("A"))
    assert bench.model.calls == []


async def test_a_run_that_is_cancelled_while_its_journal_does_not_answer_ends_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: SqliteJournal, *args: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(SqliteJournal, "begin", silent)
    monkeypatch.setattr(SqliteJournal, "intend", silent)
    task = asyncio.create_task(bench.run(spec_of("A")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_a_run_that_is_stopped_while_an_answer_cannot_be_kept_can_be_resumed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded because of the stop follows from an answer that is not there: none of it may be kept."""
    failed: list[int] = []
    runner, loop = bench.runner(), asyncio.get_running_loop()

    def write(db: Any, batch: list[Any], broken: Any) -> Any:
        if not failed and any(isinstance(job, sqlite._Append) for job in batch):
            failed.append(len(batch))
            loop.call_soon_threadsafe(runner.stop, "cancelled")
            time.sleep(0.1)  # the driver's entries for the stop are in the queue by now
            raise sqlite3.OperationalError("database or disk is full")
        return _write(db, batch, broken)

    monkeypatch.setattr(sqlite, "_write", write)
    bench.model.latency["X"] = 0.5
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in "AX"]
    agents[0]["max_loops"] = 2  # type: ignore[assignment]
    spec = spec_of(agents=agents)
    with pytest.raises(UnavailableError, match="full"):
        await runner.run(Item.local(spec), spec)
    finished = await bench.run(spec, resume=True)
    assert finished.output.status == "success"


async def test_an_interrupted_run_resumes_and_asks_only_what_is_missing(bench: Bench) -> None:
    bench.model.latency["B"] = 30
    spec = spec_of("A", "B")
    task = asyncio.create_task(bench.run(spec))
    while not bench.seen(CallFinished):
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])
    bench.model.latency["B"] = 0
    bench.events.clear()
    finished = await bench.run(spec, resume=True)
    assert bench.seen(RunStarted)[0].answered == 1
    assert bench.seen(RunStarted)[0].lost == 1
    assert [call.agent for call in bench.model.calls] == ["A", "B", "B"]
    assert finished.output.status == "success"
    assert [attempt.outcome for attempt in finished.entries[1].attempts] == ["lost", "answer"]


async def test_resuming_a_finished_run_shows_it_again_and_asks_nothing(bench: Bench) -> None:
    first = await bench.run(spec_of("A", "B"))
    again = await bench.run(spec_of("A", "B"), resume=True)
    assert (again.output, again.run.id, again.entries) == (first.output, first.run.id, first.entries)
    assert again.finished == first.finished
    assert len(bench.model.calls) == 2


async def test_resuming_what_was_never_begun_begins_it(bench: Bench) -> None:
    assert (await bench.run(spec_of("A"), resume=True)).output.status == "success"


async def test_without_resume_the_same_spec_is_a_new_run(bench: Bench) -> None:
    first, second = await bench.run(spec_of("A")), await bench.run(spec_of("A"))
    assert first.run.id != second.run.id
    assert len(bench.model.calls) == 2


async def test_a_resumed_run_keeps_its_deadline(bench: Bench) -> None:
    bench.model.latency["*"] = 30
    spec = spec_of("A")
    task = asyncio.create_task(bench.run(spec, timeout=2))
    while not bench.model.calls:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(2)
    bench.events.clear()
    finished = await bench.run(spec, resume=True)
    assert bench.seen(RunStarted)[0].seconds_left == 0.0
    assert finished.output.stopped == "deadline"


async def test_an_alias_is_said_aloud_on_resume_too(bench: Bench) -> None:
    bench.aliases["gpt-4o"] = "scripted"
    bench.model.latency["*"] = 30
    spec = spec_of("A").replace(b'"scripted"', b'"gpt-4o"')
    task = asyncio.create_task(bench.run(spec))
    while not bench.model.calls:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait([task])
    bench.model.latency["*"] = 0
    bench.events.clear()
    await bench.run(spec, resume=True)
    assert bench.seen(ModelResolved) == [ModelResolved("gpt-4o", "scripted", "scripted", True)]


async def test_an_answer_of_open_weights_is_never_edited_but_refused(bench: Bench) -> None:
    """A peer decodes it again: struck text would look like a forgery."""

    class Open(ScriptedModel):
        async def complete(self, model: str, request: Any, on_delta: Any, images: Any = None) -> Any:
            answer = await super().complete(model, request, on_delta)
            return answer.model_copy(update={"model": answer.model.model_copy(update={"digest": "sha256:aa"})})

    bench.model = Open(lambda model, request: f"my key is {KEY}")
    finished = await bench.run(spec_of("A"))
    assert finished.output.output[0].error is not None
    assert finished.output.output[0].error.code == "secret_in_answer"


async def test_a_struck_answer_loses_its_log_probabilities_whose_tokens_spell_the_secret(bench: Bench) -> None:
    class Spelling(ScriptedModel):
        async def complete(self, model: str, request: Any, on_delta: Any, images: Any = None) -> Any:
            answer = await super().complete(model, request, on_delta)
            tokens = [answer.content[at : at + 3] for at in range(0, len(answer.content), 3)]
            spelt = tuple(TokenLogprob(token=token, logprob="-0.5") for token in tokens)
            return answer.model_copy(update={"logprobs": spelt})

    bench.model = Spelling(lambda model, request: f"my key is {KEY}" if agent_of(request) == "A" else "I have no key")
    told, kept = [entry.answer for entry in (await bench.run(spec_of("A", "B"))).entries]
    assert told is not None
    assert kept is not None
    assert (told.content, told.logprobs) == (f"my key is {STRUCK}", None)
    assert "".join(one.token for one in kept.logprobs or ()) == "I have no key"


@pytest.mark.parametrize("spelling", ["\\u0073k-this-is-a-secret-key", "sk-this-is-a-secret-key"])
async def test_a_key_in_the_spec_is_found_however_it_is_spelt(bench: Bench, spelling: str) -> None:
    with pytest.raises(InvalidError, match="secret_in_spec"):
        await bench.run(spec_of("A", rules="use HERE").replace(b"HERE", spelling.encode()))


async def test_a_taken_over_run_stops_and_says_so(bench: Bench) -> None:
    bench.model.latency["A"] = 0.05
    spec = spec_of("A")
    zombie = asyncio.create_task(bench.run(spec))
    while not bench.model.calls:
        await asyncio.sleep(0.005)
    finished = await bench.run(spec, resume=True)
    with pytest.raises(InvalidError, match="run_taken_over"):
        await zombie
    assert finished.output.status == "success"


async def test_a_call_that_is_made_again_tells_followers_to_drop_what_they_heard(bench: Bench) -> None:
    told: list[str] = []

    class Breaking(ScriptedModel):
        async def complete(self, model: str, request: Any, on_delta: Any, images: Any = None) -> Any:
            if not told and on_delta is not None:
                told.append("half")
                on_delta("half an ans")
                raise UnavailableError("stream_truncated", "cut")
            return await super().complete(model, request, on_delta)

    bench.model = Breaking()
    await bench.run(spec_of("A"), follow=True)
    assert [type(event).__name__ for event in bench.events if isinstance(event, Delta | CallRestarted)][:2] == [
        "Delta",
        "CallRestarted",
    ]


async def test_no_secret_reaches_journal_output_or_followers(bench: Bench, tmp_path: FilePath) -> None:
    bench.model.reply = lambda model, request: f"my key is {KEY}"
    bench.model.failures["B"] = [InvalidError("unauthorised", f"Incorrect API key provided: {KEY}")]
    finished = await bench.run(spec_of("A", "B"), follow=True)
    assert finished.output.output[0].content == f"my key is {STRUCK}"
    assert KEY not in repr(finished.entries) + repr(bench.events)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


async def test_a_spec_that_holds_a_key_of_the_node_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidError, match="secret_in_spec"):
        await bench.run(spec_of("A", rules=f"use {KEY}"))
    assert bench.model.calls == []


async def test_a_budgets_seconds_end_a_run_that_nobody_timed(bench: Bench) -> None:
    bench.model.latency["B"] = 30.0
    finished = await bench.run(spec_of("A", "B", budget={"seconds": "0.3"}), timeout=60)
    assert (finished.output.status, finished.output.stopped) == ("partial", "deadline")


async def test_the_nodes_budget_bounds_a_run_beside_its_spec_and_is_kept_across_a_resume(bench: Bench) -> None:
    spec = spec_of("A", "B", "C", budget={"calls": 9})
    runner = bench.runner()
    finished = await runner.run(Item.local(spec), spec, budgets=(Budget(calls=2),))
    assert [message.error and message.error.code for message in finished.output.output] == [None, None, "budget"]
    again = await bench.run(spec, resume=True)
    assert (again.item.ceilings, again.output) == (finished.item.ceilings, finished.output)
    assert again.item.ceilings is not None
    assert again.item.ceilings.calls == 2
    assert len(bench.model.calls) == 2


async def test_money_cannot_be_bounded_where_a_price_is_unknown(bench: Bench) -> None:
    with pytest.raises(InvalidError, match="price_unknown"):
        await bench.run(spec_of("A", budget={"cost": "1"}))
    assert not bench.model.calls
