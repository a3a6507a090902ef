"""kill -9 of ``orca run`` at every journal write, then the same command with ``--resume``.

The model server is another process that counts. A journaled answer is never asked again, and the output is the one of an
undisturbed run.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.walk.commands import KILLING, Ended, Shell

#: every answer names its agent only, so that one given twice is still the same; agents answer apart, so that commits are apart
SCRIPT = {
    "reply": "out({agent})",
    "models": ["scripted"],
    "agents": {f"A{number}": {"latency_ms": 120 * number} for number in range(3)},
}
#: the run, the intents, the answers (if they were all committed together), the end
FEWEST = 4

SPECS: dict[str, Any] = {
    "ConcurrentWorkflow": {"max_loops": 1, "agents": 3},
    "SequentialWorkflow": {"max_loops": 1, "agents": 2},
}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def write_spec(folder: Path, name: str) -> Path:
    agents = [
        {"agent_name": f"A{n}", "model_name": "scripted", "system_prompt": f"AGENT:A{n}"} for n in range(SPECS[name]["agents"])
    ]
    path = folder / "spec.json"
    path.write_text(json.dumps({"task": "TASK", "swarm_type": name, "max_loops": SPECS[name]["max_loops"], "agents": agents}))
    return path


def journaled(home: Path) -> int:
    """Count the answers that are durable."""
    database = home / "orca" / "journal.db"
    if not database.exists():
        return 0
    db = sqlite3.connect(database)
    try:
        return int(db.execute("SELECT count(*) FROM entries").fetchone()[0])
    except sqlite3.OperationalError:  # killed before the tables were there
        return 0
    finally:
        db.close()


def result_of(ended: Ended) -> Any:
    document = ended.document
    return [document["status"], document["output"], document["usage"]]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.timeout(600)
def test_a_run_killed_at_any_journal_write_resumes_to_the_same_output(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    shell = Shell(tmp_path, {"ORCA_OPENAI_BASE_URL": server.openai})
    spec = write_spec(tmp_path, name)
    server.reset(SCRIPT)
    whole = shell.orca("0", "before", "run", spec, "--json", program=KILLING)
    assert whole.code == 0, whole.stderr
    calls = server.stats(prompts=False)["total"]
    writes = int(whole.stderr.rpartition("writes=")[2])
    assert writes >= FEWEST

    for kill_at in range(1, writes + 1):
        for when in ("before", "after"):
            shutil.rmtree(tmp_path / "orca")
            server.reset(SCRIPT)
            killed = shell.orca(str(kill_at), when, "run", spec, "--json", program=KILLING)
            if killed.code == 0:  # answers that came together were committed together: this run made fewer writes
                continue
            assert killed.code == -signal.SIGKILL, killed.stderr
            durable = journaled(tmp_path)
            server.reset(SCRIPT)
            resumed = shell.orca("run", spec, "--json", "--resume")
            assert resumed.code == 0, f"killed {when} write {kill_at}: {resumed.stderr}"
            assert result_of(resumed) == result_of(whole), f"killed {when} write {kill_at}"
            asked_again = server.stats(prompts=False)["total"]
            assert asked_again == calls - durable, f"killed {when} write {kill_at}: {durable} answers were durable"
