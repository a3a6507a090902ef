"""``orca``, but the process kills itself at journal write N: ``python killing_cli.py N before|after ORCA-ARGUMENTS…``

A write is a transaction of the SQLite journal that changed something. ``before``: it is lost; ``after``: it is durable but
nobody was told. With N = 0 nothing is killed and the number of writes is printed on stderr as ``writes=N``.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from typing import Any

import orca_agent.store.sqlite
from orca.cli import exit_code

writes = 0


class Mortal(sqlite3.Connection):
    """A connection whose N-th commit is the end."""

    kill_at = 0
    when = "before"

    def __exit__(self, *error: Any) -> Any:
        global writes  # noqa: PLW0603 - one process, one count
        changes = self.in_transaction
        writes += changes
        if changes and writes == self.kill_at and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = super().__exit__(*error)
        if changes and writes == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


if __name__ == "__main__":
    Mortal.kill_at, Mortal.when = int(sys.argv[1]), sys.argv[2]
    orca_agent.store.sqlite.sqlite3.connect = functools.partial(sqlite3.connect, factory=Mortal)  # type: ignore[attr-defined]
    code = exit_code(sys.argv[3:])
    sys.stderr.write(f"writes={writes}\n")
    sys.exit(code)
