"""A whole service watched from outside: one id joins its log, its trace, its run and its proof; and what is off costs nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from orca.agent_service import run_agent
from orca.cli.logs import log_to_stderr
from orca.network_settings import load
from orca.observe_settings import ObserveSettings, passwords_in
from orca_agent.observe.logs import OURS
from orca_protocol.errors import InvalidError
from tests.fakes.collector import Collector, collector
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import Console, settings_in

KEY = "an-api-key-of-sixteen"
SPEC = {"task": "T", "agents": [{"agent_name": "A", "model_name": "scripted", "system_prompt": "AGENT:A"}]}
LOADED = """
import sys
from orca.cli import exit_code
code = exit_code(sys.argv[1:])
print([name for name in ("opentelemetry", "prometheus_client", "requests") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """Put the log back as it was."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *OURS)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@asynccontextmanager
async def agent(folder: Path, database_url: str, server: ScriptedServer) -> AsyncIterator[httpx.AsyncClient]:
    """``orca agent`` in this process, and a client with its key."""
    settings = settings_in(folder, openai_base_url=server.openai, api_key=SecretStr(KEY), DATABASE_URL=SecretStr(database_url))
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run_agent(settings, host="127.0.0.1", port=0, workers=2, ready=listening.set_result))
    either: set[asyncio.Future[Any]] = {serving, listening}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        async with httpx.AsyncClient(base_url=listening.result(), headers={"x-api-key": KEY}, timeout=20) as client:
            yield client
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def test_one_id_joins_log_trace_run_metrics_and_proof(
    tmp_path: Path,
    database_url: str,
    server: ScriptedServer,
    there: Collector,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quiet_again: None,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=collector-secret-value")
    monkeypatch.setenv("ORCA_LOG_FORMAT", "json")
    log_to_stderr([])
    async with agent(tmp_path, database_url, server) as client:
        refused = await client.get("/metrics", headers={"x-api-key": "wrong"})
        assert refused.status_code == 401
        run = (await client.post("/v1/runs", json={"spec": SPEC})).json()["id"]
        async with asyncio.timeout(20):
            while (await client.get(f"/v1/runs/{run}")).json()["finished"] is None:
                await asyncio.sleep(0.02)
        cid = (await client.get(f"/v1/runs/{run}/proof")).json()["cid"]
        page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (one.name, one.labels.get("outcome") or one.labels.get("status")): one.value
        for family in text_string_to_metric_families(page.text)
        for one in family.samples
    }
    assert samples["orca_calls_total", "answer"] == samples["orca_runs_ended_total", "success"] == 1
    assert samples["orca_runs", "queued"] == samples["orca_queue_oldest_seconds", None] == 0

    trace = run.replace("-", "")
    assert {span.trace for span in there.spans} == {trace}
    (workflow,) = there.named("invoke_workflow")
    (proof,) = there.named("prove")
    assert (proof.parent, proof.attributes["orca.proof.cid"]) == (workflow.id, cid)
    assert there.headers[0]["x-key"] == "collector-secret-value"

    said = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    (about_proof,) = [line for line in said if line.get("cid") == cid]
    assert (about_proof["run_id"], about_proof["trace_id"]) == (run, trace)


async def test_a_collector_that_is_away_fails_no_run(online: Console) -> None:
    online.set(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    ended = await asyncio.to_thread(online, "run", online.spec("A"), "--json")
    assert (ended.code, ended.document["status"]) == (0, "success")


def test_a_run_of_the_command_line_is_traced_where_a_collector_is_named(online: Console, there: Collector) -> None:
    online.set(OTEL_EXPORTER_OTLP_ENDPOINT=there.url)
    ended = online("run", online.spec("A", "B"), "--json")
    assert ended.code == 0, ended.stderr
    assert len(there.named("chat")) == 2
    assert len(there.named("invoke_workflow")) == 1


def test_what_is_switched_off_is_not_even_loaded(online: Console) -> None:
    for arguments in (["--help"], ["run", str(online.spec("A"))]):
        done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORCA_LOG_FORMAT", "xml"),
        ("ORCA_LOG_LEVEL", "LOUD"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://me:word@host"),
    ],
)
def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidError, match=name):
        load(ObserveSettings)


def test_keys_of_the_collector_and_passwords_in_addresses_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=first%20secret, x=second-secret")
    found = {secret.get_secret_value() for secret in load(ObserveSettings).secrets}
    assert found == {"first%20secret", "first secret", "second-secret"}
    passwords = passwords_in(SecretStr("postgresql://me:p%40ssword@host/db"), None, SecretStr("no address"))
    assert {one.get_secret_value() for one in passwords} == {"p%40ssword", "p@ssword"}
