"""Child processes of a devnet: they say where they are, show why they failed, and do not outlive their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from orca.devnet.children import orca, start
from orca_protocol.errors import UnavailableError
from tests.house.repository import ROOT

READY = "import json, sys, time; print(json.dumps({'url': 'here'}), flush=True); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_child_that_is_ready_says_where_it_is_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    child = await start("node1", python(READY + "time.sleep(60)"), tmp_path / "logs" / "node1.log", os.environ)
    assert child.said == {"url": "here"}
    await child.end()
    assert child.has_ended
    assert await child.wait() == -signal.SIGTERM
    await child.end()


async def test_a_child_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + "time.sleep(60)"
    child = await start("node1", python(stubborn), tmp_path / "log", os.environ)
    await child.end(0.2)
    assert await child.wait() == -signal.SIGKILL


async def test_a_child_is_given_its_own_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCA_SECRET_OF_THE_OPERATOR", "x")
    tell = "import json, os; print(json.dumps(dict(os.environ)), flush=True)"
    child = await start("node1", python(tell), tmp_path / "log", {"ONLY": "this"})
    await child.wait()
    assert child.said["ONLY"] == "this"
    assert "ORCA_SECRET_OF_THE_OPERATOR" not in child.said


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import sys; sys.exit('no database')", "did not start"),
        ("print('nonsense', flush=True); raise SystemExit('no database')", "did not start"),
        ("import sys; print('no database', file=sys.stderr, flush=True); print('[]', flush=True)", "something else"),
        ("import sys, time; print('no database', file=sys.stderr, flush=True); time.sleep(60)", "was not ready in 2 s"),
        ("import sys; print('no database', file=sys.stderr, flush=True); print('x' * 200000, flush=True)", "was not ready"),
    ],
    ids=["died", "died after nonsense", "said a list", "says nothing", "says too much"],
)
async def test_a_child_that_does_not_become_ready_shows_the_end_of_its_log(tmp_path: Path, code: str, what: str) -> None:
    log = tmp_path / "node1.log"
    with pytest.raises(UnavailableError) as failed:
        await start("node1", python(code), log, os.environ, seconds=2.0)
    assert failed.value.code == "child_failed"
    assert failed.value.detail.startswith("node1 ")
    assert what in failed.value.detail
    assert f"{log} ends with: " in failed.value.detail
    assert failed.value.detail.endswith("no database")


def test_our_own_commands_run_by_this_interpreter() -> None:
    done = subprocess.run([*orca(), "--help"], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    assert "devnet" in done.stdout


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    parent = textwrap.dedent(f"""
        import asyncio, os, sys
        from pathlib import Path
        from orca.devnet.children import start
        async def main():
            code = {READY + "time.sleep(60)"!r}
            child = await start("c", [sys.executable, "-c", code], Path({str(tmp_path / "log")!r}), os.environ)
            print(child.pid, flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    with subprocess.Popen(python(parent), stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert _is_alive(pid)
        process.kill()
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_a_cancelled_start_ends_the_child(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    starting = asyncio.create_task(start("node1", python(code), tmp_path / "log", os.environ))
    async with asyncio.timeout(10):
        while not mark.exists() or not mark.read_text():
            await asyncio.sleep(0.01)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert not _is_alive(int(mark.read_text()))
