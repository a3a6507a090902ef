"""Acceptance cases that need a real server of models: how wide, in which order, how long, and what it all used.

How fast is for ``make bench`` to measure; here the bounds only tell side by side from one after the other on a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from orca.postgres import EmbeddedPostgres
from orca_agent.models.http import HttpClient
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.observe.secrets import Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.work.response import completion
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_engine.item import Item
from tests.emptying import empty
from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.walk.commands import Shell
from tests.walk.test_agent import Agent, agent, until


def spec_of(*names: str, **fields: Any) -> dict[str, Any]:
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in names]
    return {"task": "TASK", "swarm_type": "ConcurrentWorkflow", "agents": agents, **fields}


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


class Bench:
    """A runner whose models are behind HTTP."""

    def __init__(self, folder: Path, models: ScriptedServer) -> None:
        self.models = models
        self.journal = SqliteJournal(folder / "journal.db")
        self.http = HttpClient()
        self.registry = Registry([OpenAIProvider(OpenAISettings(models.openai, models=("scripted",)), self.http)], {})

    async def run(self, spec: dict[str, Any], script: dict[str, Any]) -> Finished:
        self.models.reset({"models": ["scripted"], **script})
        data = json.dumps(spec).encode()
        options = RunOptions(retry=Policy(attempts=3, base=0.0))
        return await Runner(self.journal, self.registry, Secrets(), options=options).run(Item.local(data), data)


@pytest.fixture
async def bench(tmp_path: Path, models: ScriptedServer) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, models)
    yield made
    await made.journal.close()
    await made.registry.close()
    await made.http.close()


async def test_seq_6_ten_agents_wait_for_each_other(bench: Bench) -> None:
    names = [f"A{number}" for number in range(10)]
    begun = time.monotonic()
    finished = await bench.run(spec_of(*names, swarm_type="SequentialWorkflow"), {"latency_ms": 50})
    assert 0.5 <= time.monotonic() - begun < 2.5
    stats = bench.models.stats()
    assert stats["max_in_flight"] == 1
    assert [request["agent"] for request in stats["requests"]] == [message.role for message in finished.output.output] == names


async def test_con_3_two_hundred_agents_are_in_flight_together(bench: Bench) -> None:
    names = [f"A{number}" for number in range(200)]
    script = {"agents": {name: {"faults": [{"kind": "held"}]} for name in names}}
    running = asyncio.create_task(bench.run(spec_of(*names), script))
    await in_flight(bench.models, 200)
    bench.models.release()
    assert [message.role for message in (await running).output.output] == names


async def test_spr_5_each_rows_time_is_its_own_and_within_the_runs(bench: Bench) -> None:
    script = {"agents": {name: {"latency_ms": latency} for name, latency in zip("ABC", (400, 0, 200), strict=True)}}
    finished = await bench.run(spec_of(*"ABC", swarm_type="SpreadSheetSwarm"), script)
    times = [(datetime.fromisoformat(attempt.started).timestamp(), attempt.duration_ms) for (attempt,) in attempts(finished)]
    assert all(finished.run.started - 0.001 <= started <= finished.finished for started, _ in times)
    assert all(started + duration / 1000 <= finished.finished + 0.01 for started, duration in times)
    assert [duration // 195 for _, duration in times] == [2, 0, 1], "each row's time is that of its own call"


async def test_api_15_a_server_that_asks_for_a_pause_gets_it_and_both_attempts_are_counted(bench: Bench) -> None:
    fault = {"kind": "status", "status": 429, "first": 1, "headers": {"Retry-After": "1"}}
    finished = await bench.run(spec_of("A", "B"), {"agents": {"A": {"faults": [fault]}}})
    first, again = [request["at"] for request in bench.models.stats()["requests"] if request["agent"] == "A"]
    assert again - first >= 1.0
    assert [[attempt.outcome for attempt in tried] for tried in attempts(finished)] == [["rate_limited", "answer"], ["answer"]]
    assert (finished.output.status, finished.output.usage.calls) == ("success", 2)


async def test_api_12_usage_is_what_the_server_said_for_each_agent_and_together(bench: Bench) -> None:
    script = {"agents": {"B": {"reply": "one two three"}}}
    finished = await bench.run(spec_of(*"ABC", max_loops=2), script)
    asked, reported = Counter[str](), Counter[str]()
    for request in bench.models.stats()["requests"]:
        asked[request["agent"]] += sum(len(message["content"].split()) for message in request["request"]["messages"])
    for entry in finished.entries:
        assert entry.answer is not None
        assert entry.answer.usage is not None
        reported[entry.name] += entry.answer.usage.input_tokens
    assert reported == asked
    usage = completion(finished)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (asked.total(), 2 * (1 + 3 + 1))
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def attempts(finished: Finished) -> list[Any]:
    return [entry.attempts for entry in finished.entries]


async def in_flight(models: ScriptedServer, count: int) -> None:
    """Wait until so many calls are open."""
    async with asyncio.timeout(40):
        while models.stats(prompts=False)["in_flight"] < count:
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, models: ScriptedServer, postgres: EmbeddedPostgres) -> Iterator[Agent]:
    """``orca agent``, wide enough for twenty swarms."""
    empty(postgres.superuser_url.replace("/postgres?", "/orca?"))
    models.reset({"models": ["scripted"]})
    environment = {"ORCA_OPENAI_BASE_URL": models.openai, "DATABASE_URL": postgres.url}
    with agent(Shell(tmp_path_factory.mktemp("home"), environment), "--workers", "20") as made:
        yield made


async def test_api_13_twenty_swarms_of_ten_are_in_flight_together_and_know_nothing_of_each_other(
    served: Agent, models: ScriptedServer
) -> None:
    swarms = [[f"S{swarm}-A{number}" for number in range(10)] for swarm in range(20)]
    held = [{"kind": "held", "first": 1}]
    models.reset({"models": ["scripted"], "agents": {name: {"faults": held} for names in swarms for name in names}})
    async with httpx.AsyncClient(base_url=served.client.base_url, timeout=60) as client:
        asking = [
            asyncio.create_task(client.post("/v1/swarm/completions", json=spec_of(*names, task=f"TASK-{names[0]}", max_loops=2)))
            for names in swarms
        ]
        await in_flight(models, 200)
        models.release()
        answers = [answer.json() for answer in await asyncio.gather(*asking)]
    stats = models.stats()
    assert (stats["max_in_flight"], stats["total"]) == (200, 400)
    for names, document in zip(swarms, answers, strict=True):
        assert [message["role"] for message in document["output"]] == names * 2
        assert all(message["content"].startswith(f"out({message['role']},") for message in document["output"])
    for request in stats["requests"]:
        swarm = request["agent"].partition("-")[0]
        prompt = json.dumps(request["request"]["messages"])
        assert f"TASK-{swarm}-A0" in prompt
        assert not [other for other in range(20) if f"S{other}" != swarm and f"S{other}-" in prompt]


def test_api_18_a_cancel_ends_what_is_in_flight_and_nothing_more_is_asked(served: Agent, models: ScriptedServer) -> None:
    names = [f"A{number}" for number in range(10)]
    models.reset({"models": ["scripted"], "agents": {name: {"faults": [{"kind": "hang"}]} for name in names}})
    run_id = served.store(spec_of(*names, max_loops=2), key="cancelled")
    until(lambda: models.stats(prompts=False)["in_flight"] == 10)
    assert served.client.post(f"/v1/runs/{run_id}/cancel").status_code == 202
    until(lambda: served.run(run_id)["finished"] is not None)
    output = served.client.get(f"/v1/runs/{run_id}/output").json()
    assert output["stopped"] == "cancelled"
    assert {message["error"]["code"] for message in output["output"]} == {"cancelled"}
    until(lambda: models.stats(prompts=False)["in_flight"] == 0)
    assert models.stats(prompts=False)["total"] == 10
