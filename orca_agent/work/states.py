"""How runs stand, for bystanders: one, a page of them, how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from orca_agent.store.database import Connection
from orca_agent.store.journal import RunRecord
from orca_protocol.errors import InvalidError

#: status of a run that ended without an output; its reason says why
FAILED = "failed"

#: every word for how a run stands
STATUSES = ("queued", "running", "success", "partial", "error", FAILED)

_REST = """started, deadline, status, finished, epoch, coalesce(attempts, 0), holder, reason, number, cancel_requested IS NOT NULL
  FROM runs LEFT JOIN queue ON queue.run_id = runs.id"""
_STATE = f"SELECT id, item_id, spec, {_REST} WHERE id = %s"
_PAGE = f"""
SELECT id, item_id, ''::bytea, {_REST}
 WHERE number > %(after)s AND run_id IS NOT NULL
   AND (%(status)s::text IS NULL OR %(status)s = coalesce(status, CASE WHEN holder IS NULL THEN 'queued' ELSE 'running' END))
 ORDER BY number LIMIT %(limit)s
"""
_OLDEST = """SELECT coalesce(max(extract(epoch FROM now()) - started), 0) FROM queue JOIN runs ON runs.id = run_id
              WHERE due IS NOT NULL AND holder IS NULL"""
_DEPTH = "SELECT count(*) FILTER (WHERE holder IS NULL), count(holder) FROM queue WHERE due IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RunState:
    """What a bystander may know of a run."""

    run: RunRecord
    epoch: int
    attempts: int
    #: who holds it, or None
    holder: str | None
    #: why it failed, or None
    reason: str | None
    #: its place among all runs
    place: int
    #: somebody wanted it ended
    is_cancelled: bool

    @property
    def status(self) -> str:
        """One of ``STATUSES``."""
        return self.run.status or ("queued" if self.holder is None else "running")


@dataclass(frozen=True, slots=True)
class Depth:
    """How many runs have not ended."""

    queued: int
    running: int

    @property
    def unfinished(self) -> int:
        """Both."""
        return self.queued + self.running


async def read_state(db: Connection, run_id: str) -> RunState:
    """Return how the run stands. Raises InvalidError ``run_unknown``."""
    row = await (await db.execute(_STATE, (run_id,))).fetchone()
    if row is None:
        raise InvalidError("run_unknown", f"there is no run {run_id}")
    return RunState(RunRecord(*row[:7]), *row[7:])


async def list_states(db: Connection, *, status: str | None, after: int, limit: int) -> list[RunState]:
    """Return the runs of the queue in the order in which they came, from place ``after`` on, without their specs."""
    rows = await (await db.execute(_PAGE, {"status": status, "after": after, "limit": limit})).fetchall()
    return [RunState(RunRecord(*row[:7]), *row[7:]) for row in rows]


async def read_depth(db: Connection) -> Depth:
    """Return how many runs wait and how many are held."""
    row = await (await db.execute(_DEPTH)).fetchone()
    if row is None:
        raise RuntimeError("a count has a row")
    return Depth(*row)


async def read_oldest(db: Connection) -> float:
    """Return for how many seconds the oldest queued run waits, 0 where none does."""
    row = await (await db.execute(_OLDEST)).fetchone()
    return 0.0 if row is None else max(0.0, float(row[0]))
