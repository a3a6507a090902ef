"""``orca agent`` as its users meet it: a process that is asked over HTTP, stopped, killed, started again and asked again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.walk.commands import Shell


def spec_of(*names: str, **fields: Any) -> dict[str, Any]:
    agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in names]
    return {"task": "TASK", "swarm_type": "SequentialWorkflow", "agents": agents, **fields}


@pytest.fixture(scope="module")
def models() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path, models: ScriptedServer, database_url: str) -> Shell:
    models.reset({"models": ["scripted"]})
    return Shell(tmp_path, {"ORCA_OPENAI_BASE_URL": models.openai, "DATABASE_URL": database_url})


class Agent:
    """A service and its process."""

    def __init__(self, process: subprocess.Popen[str], client: httpx.Client) -> None:
        self.process, self.client = process, client

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def store(self, spec: dict[str, Any], key: str = "key") -> str:
        answer = self.client.post("/v1/runs", json={"spec": spec}, headers={"Idempotency-Key": key})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/runs/{run_id}").json())

    def follow(self, run_id: str, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        with self.client.stream("GET", f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": str(after)}) as answer:
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                    fields = {}


@contextmanager
def agent(shell: Shell, *arguments: str) -> Iterator[Agent]:
    with shell.running("agent", "--port", "0", "--json", *arguments) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        with httpx.Client(base_url=json.loads(line)["address"], timeout=30) as client:
            yield Agent(process, client)


def until(claim: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.05)


def text_of(events: list[tuple[int, str, dict[str, Any]]]) -> dict[str, str]:
    """Put the answers together as a reader must: what a call said before it began again is void."""
    texts: dict[str, str] = {}
    for _, kind, data in events:
        if kind in {"call_started", "call_restarted"}:
            texts[data["agent"]] = ""
        elif kind == "delta":
            texts[data["agent"]] += data["text"]
    return texts


def test_a_run_goes_on_and_is_followed_on_across_a_restart_of_the_service(shell: Shell, models: ScriptedServer) -> None:
    models.reset({"models": ["scripted"], "agents": {"B": {"latency_ms": 1500}}})
    with agent(shell) as first:
        run_id = first.store(spec_of("A", "B", "C"))
        seen = []
        for event in first.follow(run_id):
            seen.append(event)
            if event[1] == "call_finished":
                break
        until(lambda: models.stats(prompts=False)["calls"].get("B") == 1)
        assert first.stop() == 0
    with agent(shell) as second:
        rest = list(second.follow(run_id, after=seen[-1][0]))
        events = [*seen, *rest]
        assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
        assert [kind for _, kind, _ in events].count("queued") == 1
        starts = [data for _, kind, data in events if kind == "started"]
        assert [(start["answered"], start["lost"]) for start in starts] == [(0, 0), (1, 1)]
        assert (events[-1][1], events[-1][2]["status"]) == ("finished", "success")
        assert list(second.follow(run_id, after=3)) == events[3:], "once written, what a run told is the same for every reader"
        assert second.store(spec_of("A", "B", "C")) == run_id
        output = second.client.get(f"/v1/runs/{run_id}/output").json()["output"]
        assert text_of(events) == {message["role"]: message["content"] for message in output}
        assert second.stop() == 0
    assert models.stats(prompts=False)["calls"] == {"A": 1, "B": 2, "C": 1}


def test_an_embedded_database_outlives_a_kill_and_its_runs_are_taken_up_at_once(shell: Shell, models: ScriptedServer) -> None:
    del shell.environment["DATABASE_URL"]
    if os.geteuid() == 0:
        for folder in (shell.home, *shell.home.parents):
            if folder.owner() == "root" and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
    models.reset({"models": ["scripted"], "agents": {"A": {"latency_ms": 3000}}})
    with agent(shell) as first:
        run_id = first.store(spec_of("A"))
        until(lambda: models.stats(prompts=False)["calls"].get("A") == 1)
        first.process.kill()
        first.process.wait()
    models.reset({"models": ["scripted"]})
    begun = time.monotonic()
    with agent(shell) as second:
        kinds = [kind for _, kind, _ in second.follow(run_id)]
        assert time.monotonic() - begun < 20, "the lease of a worker that cannot live is not waited for"
        assert kinds.count("started") == 2
        assert kinds[-1] == "finished"
        assert second.run(run_id)["attempts"] == 2
        assert second.stop() == 0


def test_a_swarm_is_run_for_whoever_asks_and_its_proof_is_sound(shell: Shell) -> None:
    with agent(shell) as service:
        answer = service.client.post("/v1/swarm/completions", json=spec_of("A", "B"))
        assert answer.status_code == 200
        document = answer.json()
        assert [message["content"] for message in document["output"]] == ["out(A,1)", "out(B,1)"]
        proof = service.client.get(f"/v1/runs/{document['job_id']}/proof").json()
        assert service.client.get(f"/v1/runs/{document['job_id']}/proof").json() == proof
    verified = shell.orca("verify", proof["cid"], "--signer", proof["signer"], "--level", "replay", "--json")
    assert verified.code == 0, verified.stdout + verified.stderr


def test_a_stream_that_breaks_off_is_begun_again_and_its_text_comes_out_right(shell: Shell, models: ScriptedServer) -> None:
    long = " ".join(str(number) for number in range(400))
    fault = {"kind": "truncated", "first": 1, "after": 3}
    models.reset({"models": ["scripted"], "agents": {"A": {"reply": long, "faults": [fault]}}, "reply": long})
    with agent(shell) as service:
        run_id = service.store(spec_of("A"))
        events = list(service.follow(run_id))
    kinds = [kind for _, kind, _ in events]
    assert "delta" in kinds[: kinds.index("call_restarted")], "nothing was said before the stream broke off"
    assert text_of(events) == {"A": long}


def test_an_operators_key_is_asked_for_and_told_nobody(shell: Shell) -> None:
    key = "an-operators-own-key-0123"
    shell.environment["ORCA_API_KEY"] = key
    with agent(shell, "--host", "0.0.0.0") as service:  # noqa: S104
        service.client.base_url = httpx.URL(str(service.client.base_url).replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
        assert service.client.get("/v1/runs").status_code == 401
        assert service.client.get("/health").status_code == 200
        service.client.headers["x-api-key"] = key
        refused = service.client.post("/v1/runs", json={"spec": spec_of("A", rules=f"say {key}")})
        assert refused.json()["code"] == "secret_in_spec"
        assert service.stop() == 0
        assert service.process.stderr is not None
        assert key not in service.process.stderr.read()


def test_to_listen_for_a_network_without_a_key_is_refused_with_the_remedy(shell: Shell) -> None:
    ended = shell.orca("agent", "--host", "0.0.0.0")  # noqa: S104
    assert ended.code == 1
    assert "ORCA_API_KEY" in ended.stderr


def test_a_port_that_is_taken_is_said_to_be(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = shell.orca("agent", "--port", str(taken.getsockname()[1]), "--json")
    assert ended.code == 2
    assert ended.document["code"] == "port_in_use"
