"""Runs ``orca`` in this process: a home of its own, an environment with nothing of the operator's, output as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orca.cli import exit_code
from orca.settings import Settings

#: variables without our prefix
OTHERS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "DATABASE_URL",
    *(f"OPENROUTER_API_KEY{number}" for number in ("", 1, 2, 3)),
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
)


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """What ``--json`` printed."""
        return json.loads(self.stdout)


@dataclass
class Console:
    """A terminal in ``folder``, whose ``ORCA_HOME`` does not exist yet."""

    folder: Path
    environment: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    @property
    def home(self) -> Path:
        """Where the node would keep its data."""
        return self.folder / "orca"

    def set(self, **variables: str) -> None:
        """Set environment variables for the commands that follow."""
        for name, value in variables.items():
            self.environment.setenv(name, value)

    def __call__(self, *arguments: object) -> Ended:
        """Run one command."""
        self.captured.readouterr()
        code = exit_code([str(argument) for argument in arguments])
        said = self.captured.readouterr()
        return Ended(code, said.out, said.err)

    def spec(self, *names: str, file: str = "spec.json", **fields: Any) -> Path:
        """Write a concurrent swarm of agents that the scripted server knows by ``names``."""
        agents = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}"} for name in names]
        return self.write(json.dumps({"task": "TASK", "swarm_type": "ConcurrentWorkflow", "agents": agents, **fields}), file)

    def write(self, text: str | bytes, file: str = "spec.json") -> Path:
        """Write a file for a command to read."""
        path = self.folder / file
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def files(self) -> Iterator[Path]:
        """Everything that a command wrote into the node's home."""
        return (path for path in self.home.rglob("*") if path.is_file())


def settings_in(folder: Path, **fields: Any) -> Settings:
    """Return settings whose home is in ``folder``, whatever else the environment says."""
    return Settings(home=folder / "orca", **fields)
