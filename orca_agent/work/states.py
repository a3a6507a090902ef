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
# Whose key begins alike is one caller's.
_NEWEST = f"""
SELECT id, item_id, ''::bytea, {_REST}
 WHERE starts_with(idempotency_key, %(keys)s) AND (%(before)s::bigint IS NULL OR number < %(before)s)
 ORDER BY number DESC LIMIT %(limit)s
"""
_COUNT = "SELECT count(*) FROM queue WHERE starts_with(idempotency_key, %s)"
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


async def list_newest(db: Connection, *, keys: str, before: int | None, limit: int) -> tuple[int, list[RunState]]:
    """Return how many runs have a key that begins with ``keys``, and the newest of those before place ``before``."""
    count = await (await db.execute(_COUNT, (keys,))).fetchone()
    rows = await (await db.execute(_NEWEST, {"keys": keys, "before": before, "limit": limit})).fetchall()
    return 0 if count is None else count[0], [RunState(RunRecord(*row[:7]), *row[7:]) for row in rows]


async def read_depth(db: Connection) -> Depth:
    """Return how many runs wait and how many are held."""
    row = await (await db.execute(_DEPTH)).fetchone()
    if row is None:
        raise RuntimeError("a count has a row")
    return Depth(*row)
