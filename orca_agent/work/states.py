"""How runs stand, for bystanders: one, a page of them, how many there are. What a run's status is, is said here once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import TupleRow

from orca_agent.store.database import Connection
from orca_agent.store.journal import RunRecord
from orca_protocol.errors import InvalidError, LimitError
from orca_time.schedule import Due

#: status of a run that ended without an output; its reason says why
FAILED = "failed"

#: every word for how a run stands
AWAITING = "awaiting_input"
SCHEDULED = "scheduled"
STATUSES = (SCHEDULED, "queued", "running", AWAITING, "success", "partial", "error", FAILED)

#: a run that somebody wants ended does not wait for its moment
_WAITS = "(scheduled > now() AND cancel_requested IS NULL)"
_STATUS = f"""coalesce(status, CASE WHEN holder IS NOT NULL THEN 'running' WHEN is_awaiting THEN '{AWAITING}'
                             WHEN {_WAITS} THEN 'scheduled' ELSE 'queued' END)"""
# The few runs that could begin, each with how many of them came before it.
_WAITING = f"""WITH waiting AS (
    SELECT run_id AS waiting_id, row_number() OVER (ORDER BY number) - 1 AS position FROM queue JOIN runs ON id = run_id
     WHERE due IS NOT NULL AND holder IS NULL AND status IS NULL AND NOT is_awaiting AND NOT coalesce({_WAITS}, false))"""  # noqa: S608 - constants only
_REST = f"""started, deadline, status, finished, ceilings, {_STATUS}, epoch, coalesce(attempts, 0), holder, reason, number,
       cancel_requested IS NOT NULL, owner, position, coalesce(extract(epoch FROM created)::float8, started),
       extract(epoch FROM scheduled)::float8, time_zone
  FROM runs LEFT JOIN queue ON queue.run_id = runs.id LEFT JOIN waiting ON waiting_id = runs.id"""
_STATE = f"{_WAITING} SELECT id, item_id, spec, {_REST} WHERE id = %s"
_PAGE = f"""
{_WAITING}
SELECT id, item_id, ''::bytea, {_REST}
 WHERE number > %(after)s AND queue.run_id IS NOT NULL AND (%(owner)s::text IS NULL OR owner = %(owner)s)
   AND (%(status)s::text IS NULL OR %(status)s = {_STATUS})
 ORDER BY number LIMIT %(limit)s
"""
# Whose key begins alike is one caller's.
_NEWEST = f"""
{_WAITING}
SELECT id, item_id, ''::bytea, {_REST}
 WHERE starts_with(idempotency_key, %(keys)s) AND (%(before)s::bigint IS NULL OR number < %(before)s)
 ORDER BY number DESC LIMIT %(limit)s
"""
_COUNT = "SELECT count(*) FROM queue WHERE starts_with(idempotency_key, %s)"
_OLDEST = f"""
SELECT coalesce(max(extract(epoch FROM now()) - started), 0) FROM queue JOIN runs ON runs.id = run_id
 WHERE due IS NOT NULL AND holder IS NULL AND NOT is_awaiting AND NOT coalesce({_WAITS}, false)
"""  # noqa: S608 - constants only
_DEPTH = f"""
SELECT count(*) FILTER (WHERE holder IS NULL AND NOT is_awaiting AND NOT coalesce({_WAITS}, false)), count(holder),
       count(*) FILTER (WHERE {_WAITS}), count(*) FILTER (WHERE is_awaiting)
  FROM queue WHERE due IS NOT NULL
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class RunState:
    """What a bystander may know of a run."""

    run: RunRecord
    #: one of ``STATUSES``
    status: str
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
    #: the API key whose run it is; None: the operator's own
    owner: str | None
    #: how many of the runs that wait came before it, or None where it does not wait
    position: int | None
    #: when it was stored, in Unix seconds
    created: float
    #: when it was to begin, or None: at once
    due: Due | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How many runs have not ended. The moment of ``scheduled`` ones has not come; ``awaiting`` ones wait for a person."""

    queued: int
    running: int
    scheduled: int
    awaiting: int

    @property
    def unfinished(self) -> int:
        """Those that have begun, or could have."""
        return self.queued + self.running + self.awaiting


async def read_state(db: Connection, run_id: str) -> RunState:
    """Return how the run stands. Raises InvalidError ``run_unknown``."""
    row = await (await db.execute(_STATE, (run_id,))).fetchone()
    if row is None:
        raise InvalidError("run_unknown", f"there is no run {run_id}")
    return _state(row)


async def list_states(db: Connection, *, status: str | None, after: int, limit: int, owner: str | None) -> list[RunState]:
    """Return the runs of the queue in the order in which they came, from place ``after`` on, without their specs."""
    rows = await (await db.execute(_PAGE, {"status": status, "after": after, "limit": limit, "owner": owner})).fetchall()
    return [_state(row) for row in rows]


async def list_newest(db: Connection, *, keys: str, before: int | None, limit: int) -> tuple[int, list[RunState]]:
    """Return how many runs have a key that begins with ``keys``, and the newest of those before place ``before``."""
    count = await (await db.execute(_COUNT, (keys,))).fetchone()
    rows = await (await db.execute(_NEWEST, {"keys": keys, "before": before, "limit": limit})).fetchall()
    return 0 if count is None else count[0], [_state(row) for row in rows]


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


async def refuse_too_many(db: Connection, at_most: int | None, due: Due | None) -> None:
    """Raise LimitError ``queue_full``. What waits for its moment takes no room from what is to be done now."""
    if at_most is None:
        return
    depth = await read_depth(db)
    if due is None and depth.unfinished >= at_most:
        raise LimitError("queue_full", f"{at_most} runs have not ended; wait until some have, or cancel some")
    if due is not None and depth.scheduled >= at_most:
        raise LimitError("queue_full", f"{at_most} runs are scheduled; wait until some have begun, or cancel some")


def _state(row: TupleRow) -> RunState:
    seconds, zone = row[-2:]
    due = None if seconds is None else Due(datetime.fromtimestamp(seconds, UTC), zone)
    return RunState(*(RunRecord(*row[:8]), *row[8:-2], due))
