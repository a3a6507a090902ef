"""Runs that are watched: what is counted and traced of them, and that a run that goes on stays in its trace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.observe.metrics import Metrics
from orca_agent.observe.secrets import Secrets
from orca_agent.observe.tracing import Tracing
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.work.events import CallFinished, Event
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_agent.work.watching import Watchers
from orca_engine.item import Item
from orca_protocol.errors import InvalidError, UnavailableError
from tests.fakes.collector import Collector, collector
from tests.fakes.scripted_model import ScriptedModel
from tests.unit.orca_agent.observe.test_metrics import OF_MODEL, series, value

SCRIPTED = {"provider": "scripted", "model": "scripted"}


class Interrupted(Exception):  # noqa: N818 - it is what happens
    """The process ends here."""


class Bench:
    """A model, a journal, and a collector."""

    def __init__(self, folder: FilePath, there: Collector) -> None:
        self.model, self.there, self.metrics = ScriptedModel(), there, Metrics()
        self.journal = SqliteJournal(folder / "journal.db")

    async def run(self, spec: bytes, *, resume: bool = False, end_after: int | None = None) -> Finished | None:
        """Run in what could be a process of its own; ``end_after`` so many calls it dies."""
        tracing = Tracing("0", OTLPSpanExporter(endpoint=f"{self.there.url}/v1/traces"))
        finished_calls = 0

        def told(event: Event) -> None:
            nonlocal finished_calls
            finished_calls += isinstance(event, CallFinished)
            if end_after is not None and finished_calls > end_after:
                raise Interrupted

        item = Item.local(spec)
        watching = Watchers(self.metrics, tracing).watch(item.id, told)
        options = RunOptions(follow=True, retry=Policy(attempts=2, base=0.0))
        registry = Registry([self.model], {"alias": "scripted"})
        runner = Runner(self.journal, registry, Secrets(), options=options, on_event=watching, on_finished=watching.ended)
        try:
            return await runner.run(item, spec, resume=resume)
        except Interrupted:
            return None
        finally:
            tracing.close()


@pytest.fixture
async def bench(tmp_path: FilePath, there: Collector) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, there)
    yield made
    await made.journal.close()


@pytest.fixture
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


def spec_of(*names: str, model: str = "scripted", **fields: Any) -> bytes:
    agents = [{"agent_name": name, "model_name": model, "system_prompt": f"AGENT:{name} PROMPT"} for name in names]
    return json.dumps({"task": "TASK-TEXT", "agents": agents, "swarm_type": "SequentialWorkflow", **fields}).encode()


async def test_a_run_is_a_tree_of_workflow_agents_and_calls_without_what_was_said(bench: Bench) -> None:
    finished = await bench.run(spec_of("A", "B"))
    assert finished is not None
    (workflow,) = bench.there.named("invoke_workflow SequentialWorkflow")
    agents, calls = bench.there.named("invoke_agent"), bench.there.named("chat scripted")
    assert sorted(span.name for span in agents) == ["invoke_agent A", "invoke_agent B"]
    assert {span.trace for span in bench.there.spans} == {finished.run.id.replace("-", "")}
    assert [span.parent for span in agents] == [workflow.id] * 2
    assert {span.parent for span in calls} == {span.id for span in agents}
    usage = finished.output.usage
    assert sum(span.attributes["gen_ai.usage.output_tokens"] for span in calls) == usage.output_tokens
    first = calls[0].attributes
    assert first == first | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.agent.name": "A",
        "orca.run.id": finished.run.id,
        "orca.work_item.id": finished.item.id,
    }
    assert (workflow.attributes["gen_ai.operation.name"], workflow.attributes["orca.run.status"]) == ("invoke_workflow", "success")
    assert agents[0].attributes["gen_ai.operation.name"] == "invoke_agent"
    assert not any(word in bench.there.raw for word in (b"TASK-TEXT", b"PROMPT", b"out("))


async def test_a_run_that_is_taken_up_goes_on_in_its_trace_under_the_same_parent(bench: Bench) -> None:
    spec = spec_of("A", "B", "C")
    assert await bench.run(spec, end_after=1) is None
    assert bench.there.named("invoke_workflow") == []
    finished = await bench.run(spec, resume=True)
    assert finished is not None
    (workflow,) = bench.there.named("invoke_workflow")
    assert {span.trace for span in bench.there.spans} == {finished.run.id.replace("-", "")}
    assert {span.parent for span in bench.there.named("invoke_agent")} == {workflow.id}
    assert abs(workflow.start - finished.run.started) < 0.001
    assert value(bench.metrics, "orca_runs_resumed_total") == 1
    assert value(bench.metrics, "orca_runs_ended_total", status="success") == 1


async def test_what_went_wrong_is_a_code_in_spans_and_an_outcome_in_metrics(bench: Bench) -> None:
    bench.model.failures["A"] = [InvalidError("content_refused", "the text of a refusal")]
    await bench.run(spec_of("A", "B"))
    (call,) = [span for span in bench.there.named("chat") if span.attributes["gen_ai.agent.name"] == "A"]
    assert (call.is_error, call.attributes["error.type"]) == (True, "content_refused")
    (agent,) = bench.there.named("invoke_agent A")
    assert (agent.is_error, agent.attributes["error.type"]) == (True, "content_refused")
    assert b"the text of a refusal" not in bench.there.raw
    assert value(bench.metrics, "orca_calls_total", outcome="error", **SCRIPTED) == 1


async def test_calls_are_counted_under_the_model_that_is_really_asked(bench: Bench) -> None:
    bench.model.failures["A"] = [UnavailableError("overloaded", "busy")]
    await bench.run(spec_of("A", "B", model="alias"))
    metrics = bench.metrics
    assert value(metrics, "router_route_count", alias="true", **SCRIPTED) == 2
    assert value(metrics, "orca_calls_total", outcome="answer", **SCRIPTED) == 2
    assert value(metrics, "orca_tokens_total", direction="output", **SCRIPTED) > 0
    assert value(metrics, "orca_call_seconds_count", **SCRIPTED) == 2
    assert value(metrics, "orca_first_token_seconds_count", **SCRIPTED) == 2
    assert value(metrics, "orca_journal_lag_seconds_count") == 2
    assert value(metrics, "orca_journal_lag_seconds_sum") > 0
    assert not any(dict(labels) == OF_MODEL for _, labels in series(metrics))
