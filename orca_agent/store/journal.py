"""The port of the journal: what durable storage of runs promises, whatever keeps it.

A write returns only when it would survive a power cut; ``begin``, ``intend``, ``append`` and ``finish`` are kept in the order in
which they were called, so that none of them is durable before those that were called earlier: where one fails, so does what was
called later under the same hold. Entries are never changed: the first one at a path stays.
Every write of a run is conditional on the run's *epoch*: ``take`` raises it, so a process that lost its run to another
one (it was stopped, then woke up) is refused with ``run_taken_over`` and can do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, Path

#: the epoch of a run that was just begun: nobody wrote to it before
FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to write a run: its id and the epoch at which it was taken."""

    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it was begun. Times are Unix seconds."""

    id: str
    item_id: str
    #: the bytes that were received; their SHA-256 is what a lease and a proof name
    spec: bytes
    started: float
    #: when the run must end, or None
    deadline: float | None
    #: set once the run has ended: success, partial or error; ``failed`` if it ended without an output
    status: str | None = None
    finished: float | None = None
    #: what it may use at most, as JSON; None: what its spec alone says
    ceilings: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A call that was asked and whose answer was never recorded, because the process ended first."""

    path: Path
    #: how often it was asked; each time counts against the day of its key
    times: int
    #: RFC 3339 time of the last one
    asked_at: str


class Journal(Protocol):
    """Durable storage of runs. Errors: InvalidError ``run_taken_over``, UnavailableError ``journal_unavailable``."""

    async def begin(self, run: RunRecord) -> Hold:
        """Record a new run and hold it."""

    async def take(self, run_id: str) -> Hold:
        """Take over a run that was begun before; whoever held it is refused from now on."""

    async def latest(self, item_id: str) -> RunRecord | None:
        """Return the run of this item that was begun last."""

    async def entries(self, run_id: str) -> tuple[Entry, ...]:
        """Return what was recorded, in path order."""

    async def lost(self, run_id: str) -> tuple[Lost, ...]:
        """Return the calls that were asked and have no entry."""

    async def intend(self, hold: Hold, paths: Sequence[Path], asked_at: str) -> None:
        """Record that the calls at ``paths`` are about to be asked."""

    async def append(self, hold: Hold, entry: Entry) -> None:
        """Record what became of a call."""

    async def finish(self, hold: Hold, status: str, finished: float, entries: int) -> None:
        """Record that the run has ended, with so many ``entries``. Finishing again changes nothing.

        InvalidError ``journal_incomplete`` where it does not hold them all: a run that says it has ended can be replayed.
        """

    async def close(self) -> None:
        """Write what is due and release the storage."""


def taken_over(run_id: str) -> InvalidError:
    """Return what a former holder of a run is told."""
    return InvalidError("run_taken_over", f"run {run_id} was taken over by another process; this one writes nothing more of it")


def incomplete(run_id: str, entries: int) -> InvalidError:
    """Return what is said of a run that would end without some of its entries."""
    return InvalidError("journal_incomplete", f"run {run_id} has {entries} entries, and its journal does not hold all of them")
