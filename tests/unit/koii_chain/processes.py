"""A devnet as a process of its own, as a node meets it: started, killed, started again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Process:
    """A running devnet, and what it said at its start."""

    child: subprocess.Popen[str]
    said: dict[str, Any]

    @property
    def address(self) -> str:
        return str(self.said["endpoint"])

    def kill(self) -> None:
        """SIGKILL: no handler, no flush."""
        self.child.kill()
        self.child.wait()


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "koii_chain.devnet", "--data", str(folder), *arguments]


@contextmanager
def devnet(folder: Path, *arguments: str) -> Iterator[Process]:
    with subprocess.Popen(command(folder, *arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line, "the devnet did not start"
            yield Process(child, json.loads(line))
        finally:
            was_running = child.poll() is None
            child.terminate()
            assert child.wait() == 0 or not was_running, "told to stop, a devnet stops in order"
