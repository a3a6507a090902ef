"""Runs ``orca`` as a user does: another process, its own home, nothing inherited but the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-c", "from orca.cli import main; main()"]
KILLING = [sys.executable, str(ROOT / "tests" / "walk" / "killing_cli.py")]


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
class Shell:
    """A home directory and an environment to run commands in."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def orca(self, *arguments: str | Path, program: list[str] | None = None) -> Ended:
        """Run one command to its end."""
        command = [*(program or MAIN), *map(str, arguments)]
        done = subprocess.run(
            command, env=self._variables(), cwd=self.home, capture_output=True, text=True, timeout=110, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start one command in a process group of its own; what still runs at the end of the block is killed."""
        with subprocess.Popen(
            [*MAIN, *map(str, arguments)],
            env=self._variables(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _variables(self) -> dict[str, str]:
        clean = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
        return {
            **clean,
            "HOME": str(self.home),
            "ORCA_HOME": str(self.home / "orca"),
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
