"""Runs that are killed at a write of their journal and taken up again: their specs, who forks them, and what must hold."""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.fakes.mortal_runs import FAILING, SOURCE
from tests.unit.orca_engine.worlds import agent, spec_of

ROOT = Path(__file__).parents[2]
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()

#: the number of the write, and whether it is lost or durable
Kill = tuple[int, str]
BEFORE_OR_AFTER = ("before", "after")

#: what is added to the first, second and third agent, and to the spec
VARIANTS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "plain": ([{"max_loops": 2}, {"auto_generate_prompt": True}, {}], {}),
    "tools and an image": ([{"mcp_servers": [SOURCE], "selected_tools": ["add"]}, {}, {}], {"img": PNG}),
    "schemas": ([{"response_schema": {"type": "object"}}] * 3, {}),
    "a budget": ([{}] * 3, {"budget": {"calls": 3, "output_tokens": 100_000}}),
    "a failure": ([{}, {}, {"system_prompt": FAILING}], {}),
}
HUMAN = "AgentRearrange with a person"


def spec(name: str, variant: str) -> str:
    """Return the spec of a swarm type, or of ``HUMAN``, in a variant."""
    agents, fields = VARIANTS[variant]
    listed = [agent(one, max_tokens=100, **more) for one, more in zip("ABC", agents, strict=True)]
    if name == HUMAN:
        made = {**spec_of("AgentRearrange", listed, **fields), "rearrange_flow": "A -> H, B -> C"}
    else:
        made = spec_of(name, listed, **fields)
    return json.dumps({"task": "TASK", **made})


class Store(Protocol):
    """A journal that outlives its process."""

    @property
    def address(self) -> str:
        """Where it is, as the helper is told."""

    def durable(self) -> set[str]:
        """Return the digests of the requests that have their entry."""

    def forget(self) -> None:
        """Empty it."""


@dataclass(frozen=True)
class SqliteStore:
    """A file."""

    path: Path

    @property
    def address(self) -> str:
        return str(self.path)

    def durable(self) -> set[str]:
        if not self.path.exists():
            return set()
        with closing(sqlite3.connect(self.path)) as db:
            try:
                rows = db.execute("SELECT entry FROM entries WHERE entry IS NOT NULL").fetchall()
            except sqlite3.OperationalError:  # killed before the tables were there
                return set()
        return {json.loads(row[0])["request_digest"] for row in rows}

    def forget(self) -> None:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


@dataclass(frozen=True)
class PostgresStore:
    """A database."""

    address: str

    def durable(self) -> set[str]:
        with psycopg.connect(self.address) as db:
            rows = db.execute("SELECT entry FROM orca_agent.entries WHERE entry IS NOT NULL").fetchall()
        return {json.loads(row[0])["request_digest"] for row in rows}

    def forget(self) -> None:
        with psycopg.connect(self.address) as db:
            db.execute("DELETE FROM orca_agent.entries")
            db.execute("DELETE FROM orca_agent.runs")


@dataclass
class Mortals:
    """The helper, the journal its children write, and the file in which they note what they ask."""

    helper: subprocess.Popen[str]
    store: Store
    asked: Path
    tools: str
    #: undisturbed runs, by their specs
    whole: dict[str, dict[str, Any]]
    kills: int = 0

    def undisturbed(self, one: str) -> dict[str, Any]:
        """Return how a run of the spec ends that nobody kills."""
        if one not in self.whole:
            self._forget()
            ended = self._order(one, (0, "never"))
            assert ended["code"] == 0, "see stderr of the helper"
            outside = [digest for kind, digest in ended["entries"] if kind != "stop"]
            assert set(self._noted()) <= set(outside)
            self.whole[one] = ended
        return self.whole[one]

    def survive(self, one: str, kills: Sequence[Kill]) -> int:
        """Run the spec, killed at each of ``kills`` in turn and then to its end; return how many of them came to be.

        A journaled answer is never asked again, whatever else was asked is asked once by each process, and the run ends as
        one that nobody disturbed.
        """
        whole = self.undisturbed(one)
        self._forget()
        for happened, kill in enumerate((*kills, (0, "never"))):
            ended = self._once(one, kill)
            if ended["signal"] == 0:
                assert ended["output"] == whole["output"], f"killed at {kills}"
                assert ended["digest"] == whole["digest"], f"killed at {kills}"
                self.kills += happened
                return happened
            assert ended["signal"] == signal.SIGKILL
        raise AssertionError("a process was killed that nobody kills")

    def _once(self, one: str, kill: Kill) -> dict[str, Any]:
        """Run one process, and look at what it asked."""
        durable, before = self.store.durable(), self._noted()
        ended = self._order(one, kill)
        asked = self._noted() - before
        assert ended["code"] == 0, "see stderr of the helper"
        assert not durable & set(asked), f"to be killed at {kill}: journaled answers were asked again"
        assert all(times == 1 for times in asked.values()), f"to be killed at {kill}: {asked}"
        return ended

    def _order(self, one: str, kill: Kill) -> dict[str, Any]:
        order = {"spec": one, "journal": self.store.address, "asked": str(self.asked), "tools": self.tools}
        assert self.helper.stdin is not None
        assert self.helper.stdout is not None
        self.helper.stdin.write(json.dumps({**order, "kill": kill[0], "when": kill[1]}) + "\n")
        self.helper.stdin.flush()
        return dict(json.loads(self.helper.stdout.readline()))

    def _noted(self) -> Counter[str]:
        return Counter(self.asked.read_text().splitlines())

    def _forget(self) -> None:
        self.store.forget()
        self.asked.write_text("")


@contextmanager
def mortals(store: Store, folder: Path, tools: str) -> Iterator[Mortals]:
    """Start the helper for the length of the block."""
    command = [sys.executable, "-m", "tests.fakes.mortal_runs"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:
        try:
            yield Mortals(helper, store, folder / "asked", tools, {})
        finally:
            helper.kill()
