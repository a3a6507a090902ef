"""What runs tell, durably: numbered from 1 without a gap, the same for every reader, also after a restart.

Events are for people and progress bars; the journal is the record. A worker's events are conditional on the run's epoch, as
its journal entries are, so a worker that lost its run tells nothing more of it. What bystanders say of a run (it was queued,
somebody wants it cancelled, it has ended) is written in the transaction that makes it true. ``finished`` or ``failed`` is the
last event of a run: nothing comes after it but ``verdict``, what peers said of its proof, rounds later. Nobody waits for those.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from orca_agent.store.database import Connection, pool_of
from orca_agent.store.journal import Hold
from orca_agent.store.wakes import Wakes, notify
from orca_protocol.errors import InvalidError, UnavailableError

#: every kind of event there is
KINDS = (
    "queued",
    "scheduled",
    "started",
    "model_resolved",
    "step_started",
    "call_started",
    "delta",
    "call_restarted",
    "call_finished",
    "step_finished",
    "awaiting_input",
    "input_given",
    "cancel_requested",
    "finished",
    "failed",
    "verdict",
)
LAST = frozenset({"finished", "failed"})

#: seconds between two looks for news that no notification announced
POLL = 1.0
_PAGE = 100
_FORGET_RUNS = 100

# Numbers are given under the lock of the run's count; a run that has told its last event gets none.
_COUNT = """
INSERT INTO event_counts AS counts (run_id, last, batch) SELECT id, %(count)s, %(batch)s::text FROM held
    ON CONFLICT (run_id) DO UPDATE SET last = counts.last + excluded.last, batch = coalesce(excluded.batch, counts.batch)
     WHERE NOT counts.is_closed AND (excluded.batch IS NULL OR counts.batch IS DISTINCT FROM excluded.batch)
RETURNING last
"""
_INSERT = """
INSERT INTO events (run_id, number, at, kind, body)
SELECT %(run)s, counted.last - %(count)s + place, coalesce(at, extract(epoch FROM clock_timestamp())), kind, body
  FROM counted, unnest(%(ats)s::float8[], %(kinds)s::text[], %(bodies)s::text[]) WITH ORDINALITY AS new (at, kind, body, place)
"""
_APPEND = f"""
WITH held AS MATERIALIZED (SELECT id FROM runs WHERE id = %(run)s AND epoch = %(epoch)s FOR SHARE),
     counted AS ({_COUNT})
{_INSERT}
"""  # noqa: S608 - constants only
_NOTE = f"""
WITH held AS (SELECT %(run)s AS id), counted AS ({_COUNT})
{_INSERT}
"""
# After the last event, and each body once.
_VERDICT = """
WITH counted AS (
    UPDATE event_counts SET last = last + 1
     WHERE run_id = %(run)s AND is_closed
       AND NOT EXISTS (SELECT FROM events WHERE run_id = %(run)s AND kind = 'verdict' AND body = %(body)s)
    RETURNING last)
INSERT INTO events (run_id, number, at, kind, body)
SELECT %(run)s, last, extract(epoch FROM clock_timestamp()), 'verdict', %(body)s FROM counted
"""
_IS_WRITTEN = "SELECT FROM event_counts WHERE run_id = %(run)s AND batch = %(batch)s"
_FORGET = """
DELETE FROM events WHERE run_id = ANY (ARRAY(
    SELECT id FROM runs JOIN event_counts ON run_id = id
     WHERE is_closed AND finished < extract(epoch FROM now()) - %s AND EXISTS (SELECT FROM events WHERE events.run_id = runs.id)
     ORDER BY finished LIMIT %s))
"""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to be told of a run."""

    kind: str
    body: Mapping[str, Any]
    #: Unix seconds
    at: float


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that was told of a run; ``body`` is JSON text."""

    number: int
    at: float
    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a run's events go: the last number, and whether it will stay the last."""

    last: int
    is_closed: bool


async def note(db: Connection, run_id: str, kind: str, body: Mapping[str, Any]) -> None:
    """Tell ``kind`` of a run in the caller's transaction, unless the run has told its last event."""
    values = {"run": run_id, "batch": None, "count": 1, "ats": [None], "kinds": [kind], "bodies": [_json(body)]}
    await db.execute(_NOTE, values)
    await notify(db, topic_of(run_id))


async def close_events(db: Connection, run_id: str) -> None:
    """Tell the last event of a run that has ended, in the caller's transaction. A second time changes nothing."""
    row = await (await db.execute("SELECT status, reason FROM runs WHERE id = %s AND status IS NOT NULL", (run_id,))).fetchone()
    if row is None:
        return
    status, reason = row
    if reason is None:
        await note(db, run_id, "finished", {"status": status})
    else:
        await note(db, run_id, "failed", {"reason": reason})
    await db.execute("UPDATE event_counts SET is_closed = true WHERE run_id = %s", (run_id,))
    await notify(db, end_topic(run_id))


class EventLog:
    """The events in the database at ``url``, for one event loop. Errors: UnavailableError ``events_unavailable``."""

    def __init__(self, url: str) -> None:
        self._pool = pool_of(url, "orca-events", size=4)
        self._closing = AsyncExitStack()
        self.wakes = Wakes(url)

    async def __aenter__(self) -> Self:
        try:
            await self._pool.open(wait=True, timeout=self._pool.timeout)
        except psycopg.Error as error:
            await self._pool.close()
            raise _unavailable(error) from error
        self._closing.push_async_callback(self._pool.close)
        await self._closing.enter_async_context(self.wakes)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._closing.aclose()

    async def append(self, hold: Hold, events: Sequence[NewEvent], *, batch: int) -> None:
        """Tell ``events`` of a run that is held, all of them or none. The same ``batch`` again of the same hold changes nothing:
        whoever does not know whether it was written writes it once more.

        Raises InvalidError ``run_taken_over`` if the run is held by another worker or has told its last event.
        """
        values = {
            "run": hold.run_id,
            "epoch": hold.epoch,
            "batch": f"{hold.epoch}.{batch}",
            "count": len(events),
            "ats": [event.at for event in events],
            "kinds": [event.kind for event in events],
            "bodies": [_json(event.body) for event in events],
        }
        async with self._transaction() as db:
            is_written = (await db.execute(_APPEND, values)).rowcount > 0
            if not is_written and await (await db.execute(_IS_WRITTEN, values)).fetchone() is None:
                raise InvalidError(
                    "run_taken_over", f"run {hold.run_id} is not held any more; this process tells nothing more of it"
                )
            await notify(db, topic_of(hold.run_id))

    async def add_verdict(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Tell what became of the proof of a run that has ended. A second time changes nothing."""
        async with self._transaction() as db:
            await db.execute(_VERDICT, {"run": run_id, "body": _json(body)})

    async def extent(self, run_id: str) -> Extent:
        """Return how far the events of a run go."""
        async with self._transaction() as db:
            return await _extent(db, run_id)

    async def read(self, run_id: str, after: int, limit: int = _PAGE) -> tuple[RunEvent, ...]:
        """Return the events whose number is greater than ``after``, at most ``limit`` of them."""
        async with self._transaction() as db:
            return await _read(db, run_id, after, limit)

    async def follow(self, run_id: str, after: int) -> AsyncGenerator[tuple[RunEvent, ...]]:
        """Yield what comes after number ``after`` until the run's last event; nothing, ``()``, about once a second of silence.

        What was forgotten (``forget``) is left out: an old run's events end at once.
        """
        with self.wakes.topic(topic_of(run_id)) as wake:
            while True:
                async with self._transaction() as db:
                    extent = await _extent(db, run_id)
                    found = await _read(db, run_id, after, _PAGE)
                if found:
                    after = found[-1].number
                if found or not extent.is_closed:
                    yield found
                if extent.is_closed and (after >= extent.last or not found):
                    return
                if not found:
                    await wake.wait(POLL)

    async def until_closed(self, run_id: str, at_most: float) -> bool:
        """Wait until the run has told its last event, or for about ``at_most`` seconds; return whether it has."""
        with self.wakes.topic(end_topic(run_id)) as wake:
            if (await self.extent(run_id)).is_closed:
                return True
            await wake.wait(at_most)
        return (await self.extent(run_id)).is_closed

    async def forget(self, seconds: float) -> int:
        """Delete the events of some runs that ended more than ``seconds`` ago; return how many events that were."""
        async with self._transaction() as db:
            return (await db.execute(_FORGET, (seconds, _FORGET_RUNS))).rowcount

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as db:
                yield db
        except psycopg.OperationalError as error:
            await self._pool.check()
            raise _unavailable(error) from error
        except psycopg.Error as error:
            raise _unavailable(error) from error


def topic_of(run_id: str) -> str:
    """Return what is notified when something was told of a run."""
    return f"events {run_id}"


def cancel_topic(run_id: str) -> str:
    """Return what is notified when somebody wants a run ended."""
    return f"cancel {run_id}"


def end_topic(run_id: str) -> str:
    """Return what is notified when a run has ended, or waits for a person."""
    return f"end {run_id}"


async def _extent(db: Connection, run_id: str) -> Extent:
    row = await (await db.execute("SELECT last, is_closed FROM event_counts WHERE run_id = %s", (run_id,))).fetchone()
    return Extent(0, is_closed=False) if row is None else Extent(*row)


async def _read(db: Connection, run_id: str, after: int, limit: int) -> tuple[RunEvent, ...]:
    sql = "SELECT number, at, kind, body FROM events WHERE run_id = %s AND number > %s ORDER BY number LIMIT %s"
    return tuple(RunEvent(*row) for row in await (await db.execute(sql, (run_id, after, limit))).fetchall())


def _json(body: Mapping[str, Any]) -> str:
    """Return one line of JSON; what UTF-8 cannot carry is replaced."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _unavailable(error: psycopg.Error) -> UnavailableError:
    return UnavailableError("events_unavailable", f"the events' database could not be used: {' '.join(str(error).split())}")
