from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.unit.orca.console import OTHERS, Console


@pytest.fixture(autouse=True)
def nothing_of_the_operators(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes what belongs to whoever runs it."""
    for name in [name for name in os.environ if name.startswith("ORCA_") or name in OTHERS]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Console:
    made = Console(tmp_path, monkeypatch, capsys)
    made.set(ORCA_HOME=str(made.home))
    return made


@pytest.fixture(scope="session")
def server_process() -> Iterator[ScriptedServer]:
    with scripted_server(max_seconds=3600) as server:
        yield server


@pytest.fixture
def server(server_process: ScriptedServer) -> ScriptedServer:
    server_process.reset({})
    return server_process


@pytest.fixture
def online(console: Console, server: ScriptedServer) -> Console:
    """A console whose node asks the scripted server."""
    console.set(ORCA_OPENAI_BASE_URL=server.openai)
    return console
