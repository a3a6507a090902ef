"""The journal of several processes: PostgreSQL, one writer task per process, group commit.

Whatever was asked to be written while a commit was under way is written by the next one: all intents of a batch are one
statement, all its entries another. Both hold the runs' rows against a change of epoch until the commit, so that nothing of
a former holder can appear after ``take`` has returned. The schema is made by ``orca_agent.store.migrate``.

When the connection is lost, a batch is written once more on a fresh one. That is safe: an entry that is there already,
byte for byte, counts as written, and an intent that is counted twice only makes the budget stricter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import psycopg
from pydantic import ValidationError
from pydantic_core import to_json

from orca_agent.store.broken import BrokenHolds
from orca_agent.store.database import Connection, pool_of
from orca_agent.store.journal import FIRST_EPOCH, Hold, Lost, RunRecord, incomplete, taken_over
from orca_agent.store.waves import waves
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path

T = TypeVar("T")

# Once more on a fresh connection it is there already, which is as well: ids are drawn, and nobody draws one twice.
_BEGIN = """
INSERT INTO runs (id, item_id, spec, epoch, started, deadline, ceilings) VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (id) DO NOTHING
"""
# The rows of the runs concerned, held until the commit, in one order so that two processes cannot wait for each other.
_HELD = "WITH held AS MATERIALIZED (SELECT id, epoch FROM runs WHERE id = ANY(%(runs)s) ORDER BY id FOR SHARE)"

# The rows of a batch are one parameter: a driver spells a list of some hundred values out slower than the database reads them.
_NEW = "json_to_recordset(%(rows)s::json) AS new (run text, epoch bigint, path text, value text)"

# Both statements leave out, and do not count, a row whose run has another epoch or whose path has its entry already.
_INTEND = f"""
{_HELD}
INSERT INTO entries (run_id, path, asked, asked_at)
SELECT run, path, 1, value FROM {_NEW}
  JOIN held ON held.id = new.run AND held.epoch = new.epoch
    ON CONFLICT (run_id, path) DO UPDATE SET asked = entries.asked + 1, asked_at = excluded.asked_at WHERE entries.entry IS NULL
"""  # noqa: S608 - constants only
_APPEND = f"""
{_HELD}
INSERT INTO entries (run_id, path, asked, entry)
SELECT run, path, 0, value FROM {_NEW}
  JOIN held ON held.id = new.run AND held.epoch = new.epoch
    ON CONFLICT (run_id, path) DO UPDATE SET entry = excluded.entry WHERE entries.entry IS NULL OR entries.entry = excluded.entry
"""  # noqa: S608 - constants only

_FINISH = """
UPDATE runs SET status = coalesce(status, %(status)s), finished = coalesce(finished, %(finished)s)
 WHERE id = %(run)s AND epoch = %(epoch)s
   AND (SELECT count(*) FROM entries WHERE run_id = %(run)s AND entry IS NOT NULL) = %(entries)s
"""
_IS_OURS = "SELECT 1 FROM runs WHERE id = %(run)s AND epoch = %(epoch)s"

_RUN = "SELECT id, item_id, spec, started, deadline, status, finished, ceilings FROM runs"


class _Row(TypedDict):
    """One path of one run; ``value`` is when it was asked, or its entry."""

    run: str
    epoch: int
    path: str
    value: str


class _End(TypedDict):
    """How a run ends."""

    run: str
    epoch: int
    status: str
    finished: float
    entries: int


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    """Rows that belong together, and who waits for them; or a run that begins or ends, which has none."""

    done: asyncio.Future[None]
    hold: Hold
    rows: tuple[_Row, ...] = ()
    is_entry: bool = False
    begun: RunRecord | None = None
    end: _End | None = None


class PostgresJournal:
    """A Journal in the database at ``url``, for one event loop; any number of processes and machines may share it."""

    def __init__(self, url: str) -> None:
        self._pool = pool_of(url, "orca-journal", size=4)
        self._open = asyncio.Lock()
        self._writes: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False
        self._broken = BrokenHolds()

    async def begin(self, run: RunRecord) -> Hold:
        """Record a new run and hold it."""
        hold = Hold(run.id, FIRST_EPOCH)
        await self._written(_Write(self._future(), hold, begun=run))
        return hold

    async def take(self, run_id: str) -> Hold:
        """Take over a run that was begun before."""
        rows = await self._rows("UPDATE runs SET epoch = epoch + 1 WHERE id = %s RETURNING epoch", run_id)
        if not rows:
            raise InvalidError("run_unknown", f"the journal has no run {run_id}")
        return Hold(run_id, rows[0][0])

    async def latest(self, item_id: str) -> RunRecord | None:
        """Return the run of this item that was begun last."""
        rows = await self._rows(f"{_RUN} WHERE item_id = %s ORDER BY started DESC, number DESC LIMIT 1", item_id)
        return RunRecord(*rows[0]) if rows else None

    async def entries(self, run_id: str) -> tuple[Entry, ...]:
        """Return what was recorded, in path order."""
        rows = await self._rows("SELECT entry FROM entries WHERE run_id = %s AND entry IS NOT NULL", run_id)
        try:
            return tuple(sorted((Entry.model_validate_json(row[0]) for row in rows), key=lambda entry: entry.path))
        except ValidationError as error:
            raise InvalidError("journal_damaged", f"run {run_id} cannot be read: {describe(error)}") from error

    async def lost(self, run_id: str) -> tuple[Lost, ...]:
        """Return the calls that were asked and have no entry."""
        rows = await self._rows("SELECT path, asked, asked_at FROM entries WHERE run_id = %s AND entry IS NULL", run_id)
        found = (Lost(Path(*map(int, path.split("."))), asked, at) for path, asked, at in rows)
        return tuple(sorted(found, key=lambda lost: lost.path))

    async def intend(self, hold: Hold, paths: Sequence[Path], asked_at: str) -> None:
        """Record that the calls at ``paths`` are about to be asked."""
        if paths:
            await self._written(_Write(self._future(), hold, tuple(_row(hold, path, asked_at) for path in paths)))

    async def append(self, hold: Hold, entry: Entry) -> None:
        """Record what became of a call."""
        row = _row(hold, Path._make(entry.path), entry.model_dump_json(exclude_none=True))
        await self._written(_Write(self._future(), hold, (row,), is_entry=True))

    async def finish(self, hold: Hold, status: str, finished: float, entries: int) -> None:
        """Record that the run has ended; the first time counts."""
        end = _End(run=hold.run_id, epoch=hold.epoch, status=status, finished=finished, entries=entries)
        await self._written(_Write(self._future(), hold, end=end))

    async def close(self) -> None:
        """Write what is due, stop the writer and close the connections."""
        self._is_closed = True
        if self._writer is not None:
            self._writes.put_nowait(None)
            await self._writer
            self._writer = None
        await self._pool.close()

    async def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        async def fetch(db: Connection) -> list[tuple[Any, ...]]:
            return await (await db.execute(sql, values)).fetchall()

        return await self._do(fetch)

    async def _do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction of its own; once more if the connection turns out to be lost."""
        try:
            await self._ready()
            try:
                return await self._once(work)
            except psycopg.OperationalError:
                await self._pool.check()
                return await self._once(work)
        except psycopg.Error as error:
            raise _unavailable(error) from error

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as db:
            return await work(db)

    async def _ready(self) -> None:
        async with self._open:
            if self._pool.closed:
                await self._pool.open()

    @staticmethod
    def _future() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def _written(self, write: _Write) -> None:
        if self._is_closed:
            raise UnavailableError("journal_unavailable", "the journal is closed: this process is stopping")
        self._writes.put_nowait(write)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._serve(), name="journal")
        await write.done

    async def _serve(self) -> None:
        """Write batch after batch, until told to end."""
        while (first := await self._writes.get()) is not None:
            batch = [first]
            while not self._writes.empty():
                write = self._writes.get_nowait()
                if write is None:
                    self._writes.put_nowait(None)
                    break
                batch.append(write)
            try:
                await self._commit(batch)
            except Exception as error:  # noqa: BLE001 - the writer's outermost loop: whoever waits must be told, whatever it was
                for write in batch:
                    self._broken.end(write.hold, error)
                _settle(batch, error)
            except BaseException as error:  # the end of this loop: nobody may wait for ever
                _settle(batch, error)
                raise

    async def _commit(self, batch: Sequence[_Write]) -> None:
        """Write the batch in one transaction. If something of it is refused, each is tried alone: a failure is its hold's own."""
        for write in batch:
            if (error := self._broken.error(write.hold)) is not None:
                _settle([write], error)
        batch = [write for write in batch if self._broken.error(write.hold) is None]
        if not batch:
            return
        try:
            await self._do(lambda db: _write_all(db, batch))
        except (_Refused, UnavailableError) as error:
            if len(batch) > 1 and not isinstance(error.__cause__, psycopg.OperationalError):
                for write in batch:
                    await self._commit([write])
            else:
                reason = error.reason if isinstance(error, _Refused) else error
                for write in batch:
                    self._broken.end(write.hold, reason)
                _settle(batch, reason)
        else:
            _settle(batch)


class _Refused(Exception):  # noqa: N818 - never leaves the writer
    """Not everything of a batch was taken, for ``reason``."""

    def __init__(self, reason: InvalidError) -> None:
        super().__init__(str(reason))
        self.reason = reason


async def _write_all(db: Connection, batch: Sequence[_Write]) -> None:
    """Write runs that begin, then intents, then entries, then runs that end. Raises _Refused if something is not taken."""
    for run in (write.begun for write in batch if write.begun is not None):
        await db.execute(_BEGIN, (run.id, run.item_id, run.spec, FIRST_EPOCH, run.started, run.deadline, run.ceilings))
    for statement, is_entry in ((_INTEND, False), (_APPEND, True)):
        rows = [row for write in batch if write.is_entry is is_entry for row in write.rows]
        for wave in waves(rows, key=lambda row: (row["run"], row["path"])):
            values = {"runs": sorted({row["run"] for row in wave}), "rows": to_json(wave).decode()}
            if (await db.execute(statement, values)).rowcount != len(wave):
                raise _Refused(taken_over(wave[0]["run"]))
    for end in (write.end for write in batch if write.end is not None):
        if not (await db.execute(_FINISH, end)).rowcount:
            is_ours = await (await db.execute(_IS_OURS, end)).fetchone()
            raise _Refused(incomplete(end["run"], end["entries"]) if is_ours else taken_over(end["run"]))


def _row(hold: Hold, path: Path, value: str) -> _Row:
    return {"run": hold.run_id, "epoch": hold.epoch, "path": str(path), "value": value}


def _settle(writes: Sequence[_Write], error: BaseException | None = None) -> None:
    for write in writes:
        if write.done.done():  # whoever waited was cancelled
            continue
        if error is None:
            write.done.set_result(None)
        elif isinstance(error, Exception):
            write.done.set_exception(error)
        else:
            write.done.cancel()


def _unavailable(error: psycopg.Error) -> UnavailableError:
    return UnavailableError("journal_unavailable", f"the journal's database could not be used: {' '.join(str(error).split())}")
