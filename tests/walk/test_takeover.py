"""procrastinate wakes workers and spreads runs; it is not the truth. A worker that is stopped, killed or told to stop loses its
run to another one, nothing that was answered is asked again, and nothing that the first one says later is heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orca_agent.observe.secrets import Secrets
from orca_agent.store.events import EventLog
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.inputs import Given
from orca_agent.work.intake import Intake
from orca_agent.work.queue import RunQueue
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.world import Input
from tests.fakes.scripted_server import ScriptedServer, scripted_server

ROOT = Path(__file__).parents[2]
#: how long the first worker is stopped at least; a minute was tried by hand
PAUSE = float(os.environ.get("ORCA_TEST_PAUSE", "10"))
TTL, BEAT = 4.0, 0.5
SPEC = json.dumps(
    {
        "task": "TASK",
        "swarm_type": "SequentialWorkflow",
        "agents": [{"agent_name": f"A{n}", "model_name": "scripted", "system_prompt": f"AGENT:A{n}"} for n in range(3)],
    }
).encode()


class Process:
    """A worker that can be stopped, killed and listened to."""

    def __init__(self, folder: Path, database: str, models: str) -> None:
        self._said = folder / f"{uuid.uuid4()}.jsonl"
        command = [sys.executable, "-m", "tests.fakes.worker_process", database, models, str(TTL), str(BEAT)]
        with self._said.open("wb") as output, self._said.with_suffix(".log").open("wb") as errors:
            self.popen = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors)

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = self._said.read_text().split("\n")[:-1]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def send(self, what: signal.Signals) -> None:
        assert self.popen.poll() is None, self._said.with_suffix(".log").read_text()
        self.popen.send_signal(what)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


@contextmanager
def ended(processes: list[Process]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.end()


class Scene:
    """A database, a model server whose agent A1 takes its time, and workers."""

    def __init__(self, folder: Path, database: str, server: ScriptedServer, queue: RunQueue) -> None:
        self.folder, self.database, self.server, self.queue = folder, database, server, queue
        self.processes: list[Process] = []

    def worker(self) -> Process:
        self.processes.append(Process(self.folder, self.database, self.server.openai))
        return self.processes[-1]

    async def submit(self, key: str, spec: bytes = SPEC) -> str:
        item = Item.local(spec)
        return (await Intake(self.queue, Secrets()).submit(item, spec, key=key, schedule=item.spec.schedule)).run_id

    def asked(self, agent: str) -> int:
        return int(self.server.stats(prompts=False)["calls"].get(agent, 0))

    async def until(self, claim: Callable[[], bool]) -> None:
        while not claim():
            for process in self.processes:
                assert process.popen.poll() in {None, 0, -signal.SIGKILL}, "a worker ended by itself"
            await asyncio.sleep(0.05)

    async def until_ended(self, run_id: str) -> str:
        while (status := (await self.queue.state(run_id)).run.status) is None:
            await asyncio.sleep(0.05)
        return status


@pytest.fixture
async def scene(tmp_path: Path, database_url: str) -> AsyncIterator[Scene]:
    with scripted_server() as server:
        server.reset({"models": ["scripted"], "agents": {"A1": {"latency_ms": 1500}}})
        async with RunQueue(database_url) as queue:
            made = Scene(tmp_path, database_url, server, queue)
            with ended(made.processes):
                yield made


async def test_a_stopped_worker_loses_its_run_and_is_refused_when_it_wakes(scene: Scene) -> None:
    first = scene.worker()
    await scene.until(lambda: bool(first.said("ready")))
    run_id = await scene.submit("one")
    await scene.until(lambda: scene.asked("A1") == 1)
    first.send(signal.SIGSTOP)
    assert (await scene.queue.state(run_id)).epoch == 1
    slept = asyncio.create_task(asyncio.sleep(PAUSE))

    second = scene.worker()
    assert await scene.until_ended(run_id) == "success"
    journal = PostgresJournal(scene.database)
    entries = await journal.entries(run_id)
    assert (await scene.queue.state(run_id)).epoch == 2
    assert [appended["epoch"] for appended in second.said("appended")] == [2, 2]
    await slept

    first.send(signal.SIGCONT)
    await scene.until(lambda: bool(first.said("refused")))
    async with EventLog(scene.database) as log:
        told = await log.read(run_id, 0)
    # what the first one told after it woke up was refused too: the events are the second one's from where it took over
    kinds = [event.kind for event in told]
    assert [event.number for event in told] == list(range(1, len(told) + 1))
    assert (kinds.count("started"), kinds.count("call_finished"), kinds[-1]) == (2, 3, "finished")
    assert [refused["code"] for refused in first.said("refused")] == ["run_taken_over"]
    assert len(first.said("appended")) == 1
    assert await journal.entries(run_id) == entries
    await journal.close()
    # an answer that was journaled was asked for once; the call that was under way was asked once more, and says so
    assert [scene.asked(agent) for agent in ("A0", "A1", "A2")] == [1, 2, 1]
    assert [entry.answer and entry.answer.content for entry in entries] == ["out(A0,1)", "out(A1,2)", "out(A2,1)"]
    assert [attempt.outcome for attempt in entries[1].attempts] == ["lost", "answer"]
    assert replay(Item.local(SPEC), entries).status == "success"

    # the worker that woke up is a worker again
    second.send(signal.SIGTERM)
    await scene.until(lambda: bool(second.said("stopped")))
    assert await scene.until_ended(await scene.submit("two")) == "success"
    assert len(first.said("appended")) == 4


async def test_api_17_a_worker_killed_in_step_two_of_three_loses_its_run_and_step_one_is_not_asked_again(scene: Scene) -> None:
    first = scene.worker()
    run_id = await scene.submit("one")
    await scene.until(lambda: scene.asked("A1") == 1)
    first.send(signal.SIGKILL)
    scene.worker()
    assert await scene.until_ended(run_id) == "success"
    state = await scene.queue.state(run_id)
    assert (state.epoch, state.attempts) == (2, 2)
    assert [scene.asked(agent) for agent in ("A0", "A1", "A2")] == [1, 2, 1]
    journal = PostgresJournal(scene.database)
    said = [entry.answer and entry.answer.content for entry in await journal.entries(run_id)]
    assert said == ["out(A0,1)", "out(A1,2)", "out(A2,1)"]
    await journal.close()


async def test_a_worker_that_is_told_to_stop_hands_its_run_back(scene: Scene) -> None:
    first = scene.worker()
    run_id = await scene.submit("one")
    await scene.until(lambda: scene.asked("A1") == 1)
    first.send(signal.SIGTERM)
    await scene.until(lambda: bool(first.said("stopped")))
    assert (await scene.queue.state(run_id)).holder is None
    scene.worker()
    assert await scene.until_ended(run_id) == "success"
    assert (await scene.queue.state(run_id)).attempts == 1


async def test_several_workers_share_the_runs_and_each_is_run_once(scene: Scene) -> None:
    workers = [scene.worker() for _ in range(2)]
    await scene.until(lambda: all(worker.said("ready") for worker in workers))
    runs = [await scene.submit(str(number)) for number in range(8)]
    assert [await scene.until_ended(run_id) for run_id in runs] == ["success"] * 8
    assert scene.server.stats(prompts=False)["total"] == 24
    assert sum(len(worker.said("appended")) for worker in workers) == 24
    assert all(worker.said("appended") for worker in workers)


async def test_a_run_that_waits_for_its_moment_is_run_once_although_a_worker_dies_meanwhile(scene: Scene) -> None:
    """API-11, with two processes."""
    workers = [scene.worker() for _ in range(2)]
    await scene.until(lambda: all(worker.said("ready") for worker in workers))
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    agents = [{"agent_name": "A0", "model_name": "scripted", "system_prompt": "AGENT:A0"}]
    schedule = {"scheduled_time": due.replace(tzinfo=None).isoformat(), "timezone": "UTC"}
    run_id = await scene.submit("one", json.dumps({"task": "TASK", "agents": agents, "schedule": schedule}).encode())
    workers[0].send(signal.SIGKILL)
    assert scene.asked("A0") == 0
    assert await scene.until_ended(run_id) == "success"
    assert datetime.now(UTC) < due + timedelta(seconds=3)
    state = await scene.queue.state(run_id)
    assert (state.epoch, state.attempts, scene.asked("A0")) == (1, 1, 1)
    assert [len(worker.said("appended")) for worker in workers] == [0, 1]


async def test_a_person_is_waited_for_although_every_worker_is_killed_meanwhile(scene: Scene) -> None:
    """REA-7, with processes: killed while it waits, and again once it was answered."""
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in ("A0", "A1")]
    flow = {"swarm_type": "AgentRearrange", "rearrange_flow": "A0 -> H -> A1"}
    spec = json.dumps({"task": "TASK", "agents": agents, **flow}).encode()
    first = scene.worker()
    run_id = await scene.submit("one", spec)
    while (await scene.queue.state(run_id)).status != "awaiting_input":
        await asyncio.sleep(0.05)
    first.send(signal.SIGKILL)
    second = scene.worker()
    await scene.until(lambda: bool(second.said("ready")))
    await scene.queue.give_input(run_id, Given(Input(content="OK")))
    await scene.until(lambda: scene.asked("A1") == 1)
    second.send(signal.SIGKILL)
    scene.worker()
    assert await scene.until_ended(run_id) == "success"
    assert [scene.asked(agent) for agent in ("A0", "A1")] == [1, 2], "only what was under way is asked again"
    journal = PostgresJournal(scene.database)
    entries = await journal.entries(run_id)
    await journal.close()
    assert [entry.kind for entry in entries] == ["answer", "input", "answer"]
    assert replay(Item.local(spec), entries).output[1].content == "OK"
