"""The journal of one machine: SQLite in WAL mode, one writer thread, group commit.

Whatever was asked to be written while a commit was under way is written by the next one, in one transaction with
synchronous=FULL; so 200 agents that answer at once cost a few commits, not 200. All entries of a batch are one SQL
statement: the thread gives up the interpreter lock once a batch and not once a row.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from orca_agent.store import sqlite_file
from orca_agent.store.broken import BrokenHolds
from orca_agent.store.journal import FIRST_EPOCH, Hold, Lost, RunRecord, incomplete, taken_over
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path

T = TypeVar("T")

# Both statements leave out, and do not count, a row whose run has another epoch or whose path has its entry already.
_INTEND = """
INSERT INTO asked (run_id, path, times, at)
SELECT runs.id, path.value, 1, :at FROM json_each(:paths) AS path JOIN runs ON runs.id = :run AND runs.epoch = :epoch
 WHERE NOT EXISTS (SELECT 1 FROM entries WHERE entries.run_id = runs.id AND entries.path = path.value)
    ON CONFLICT (run_id, path) DO UPDATE SET times = asked.times + 1, at = excluded.at
"""
_APPEND = """
INSERT INTO entries (run_id, path, entry)
SELECT runs.id, row.column3, row.column4 FROM (VALUES {rows}) AS row JOIN runs ON runs.id = row.column1 AND runs.epoch = row.column2
 WHERE true
    ON CONFLICT (run_id, path) DO NOTHING
"""
_FINISH = """
UPDATE runs SET status = coalesce(status, :status), finished = coalesce(finished, :finished)
 WHERE id = :run AND epoch = :epoch AND (SELECT count(*) FROM entries WHERE run_id = :run) = :entries
"""
_IS_OURS = "SELECT 1 FROM runs WHERE id = :run AND epoch = :epoch"
#: the longest that a write waits for others that come with it
_BURST_SECONDS = 0.008
#: rows of one statement; what is missing to a power of two is nothing, so that the same few statements come again and again
_ROWS_MAX = 256
_NO_ROW = (None, None, None, None)

_RUN = "SELECT id, item_id, spec, started, deadline, status, finished, ceilings FROM runs"

_Row = tuple[str, int, str, str]
_Done = asyncio.Future[Any]
#: what the event loop is told: a future and its result, or the error that it ends with
_News = list[tuple[_Done, Any]]


@dataclass(frozen=True, slots=True)
class _Work:
    """Something to do with the database, in the transaction of its batch: before its entries, or after them."""

    done: _Done
    do: Callable[[sqlite3.Connection], Any]
    #: under which it writes, if it does
    hold: Hold | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class _Append:
    """An entry."""

    done: _Done
    hold: Hold
    path: str
    entry: str

    @property
    def row(self) -> _Row:
        """What ``_APPEND`` takes."""
        return (self.hold.run_id, self.hold.epoch, self.path, self.entry)


_Batch = list[_Work | _Append]


class _Refused(Exception):  # noqa: N818 - never leaves the writer
    """Something of a batch was not taken: the whole batch is written again, one by one, to know which."""


class SqliteJournal:
    """A Journal in the file ``path``; several processes may have it open, each run belongs to the last that took it."""

    def __init__(self, path: FilePath) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._put_now: _Batch = []
        self._is_closed = False
        #: the writer's own
        self._broken = BrokenHolds()
        self._thread: threading.Thread | None = None

    async def begin(self, run: RunRecord) -> Hold:
        """Record a new run and hold it."""
        values = (run.id, run.item_id, run.spec, FIRST_EPOCH, run.started, run.deadline, run.ceilings)
        sql = "INSERT INTO runs (id, item_id, spec, epoch, started, deadline, ceilings) VALUES (?, ?, ?, ?, ?, ?, ?)"
        hold = Hold(run.id, FIRST_EPOCH)
        await self._do(lambda db: db.execute(sql, values), hold)
        return hold

    async def take(self, run_id: str) -> Hold:
        """Take over a run that was begun before."""
        sql = "UPDATE runs SET epoch = epoch + 1 WHERE id = ? RETURNING epoch"
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        if not rows:
            raise InvalidError("run_unknown", f"the journal {self._path} has no run {run_id}")
        return Hold(run_id, rows[0][0])

    async def latest(self, item_id: str) -> RunRecord | None:
        """Return the run of this item that was begun last."""
        sql = f"{_RUN} WHERE item_id = ? ORDER BY started DESC, rowid DESC LIMIT 1"
        row = await self._do(lambda db: db.execute(sql, (item_id,)).fetchone())
        return None if row is None else RunRecord(*row)

    async def entries(self, run_id: str) -> tuple[Entry, ...]:
        """Return what was recorded, in path order."""
        sql = "SELECT entry FROM entries WHERE run_id = ?"
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        try:
            return tuple(sorted((Entry.model_validate_json(row[0]) for row in rows), key=lambda entry: entry.path))
        except ValidationError as error:
            raise InvalidError("journal_damaged", f"run {run_id} in {self._path} cannot be read: {describe(error)}") from error

    async def lost(self, run_id: str) -> tuple[Lost, ...]:
        """Return the calls that were asked and have no entry."""
        sql = """SELECT path, times, at FROM asked WHERE run_id = ?
                    AND NOT EXISTS (SELECT 1 FROM entries WHERE entries.run_id = asked.run_id AND entries.path = asked.path)"""
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        found = (Lost(Path(*map(int, path.split("."))), times, at) for path, times, at in rows)
        return tuple(sorted(found, key=lambda lost: lost.path))

    async def intend(self, hold: Hold, paths: Sequence[Path], asked_at: str) -> None:
        """Record that the calls at ``paths`` are about to be asked."""
        values = {"run": hold.run_id, "epoch": hold.epoch, "at": asked_at, "paths": json.dumps([str(path) for path in paths])}
        if await self._do(lambda db: db.execute(_INTEND, values).rowcount, hold) != len(paths):
            raise taken_over(hold.run_id)

    async def append(self, hold: Hold, entry: Entry) -> None:
        """Record what became of a call."""
        done = asyncio.get_running_loop().create_future()
        self._put(_Append(done, hold, str(Path._make(entry.path)), entry.model_dump_json(exclude_none=True)))
        await done

    async def finish(self, hold: Hold, status: str, finished: float, entries: int) -> None:
        """Record that the run has ended; the first time counts."""
        values = {"status": status, "finished": finished, "run": hold.run_id, "epoch": hold.epoch, "entries": entries}
        done: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._put(_Work(done, lambda db: _finished(db, values), hold, is_last=True))
        is_ours = await done
        if is_ours is not None:
            raise incomplete(hold.run_id, entries) if is_ours else taken_over(hold.run_id)

    async def close(self) -> None:
        """Write what is due and stop the writer."""
        if self._put_now:
            self._hand_over()
        self._is_closed = True
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def _do(self, work: Callable[[sqlite3.Connection], T], hold: Hold | None = None) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Work(done, work, hold))
        return await done

    def _put(self, job: _Work | _Append) -> None:
        """Give the writer a job, together with all others of the same burst. Raises UnavailableError once it is told to end."""
        if self._is_closed:
            raise UnavailableError("journal_unavailable", f"the journal {self._path} is closed: this process is stopping")
        if not self._put_now:
            loop = job.done.get_loop()
            loop.call_soon(self._gather, loop, loop.time() + _BURST_SECONDS, 0)
        self._put_now.append(job)

    def _gather(self, loop: asyncio.AbstractEventLoop, until: float, seen: int) -> None:
        """Hand over what was put as soon as a turn of the loop brought nothing more: a writer in its midst only slows it down."""
        if seen < len(self._put_now) and loop.time() < until:
            loop.call_soon(self._gather, loop, until, len(self._put_now))
        elif self._put_now:
            self._hand_over()

    def _hand_over(self) -> None:
        batch, self._put_now = self._put_now, []
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._thread.start()
        self._jobs.put(batch)

    def _serve(self) -> None:
        db: sqlite3.Connection | None = None
        while (batch := self._jobs.get()) is not None:
            batch = [*batch, *self._waiting()]
            try:
                db = db or sqlite_file.opened(self._path)
                news = _write(db, batch, self._broken)
            except Exception as error:  # noqa: BLE001 - the thread's outermost loop: whoever waits must be told, whatever it was
                news = [(job.done, self._broken.error(job.hold) or error) for job in batch]
                for job in batch:
                    self._broken.end(job.hold, error)
            _tell([(done, self._explained(result)) for done, result in news])
        if db is not None:
            db.close()

    def _waiting(self) -> _Batch:
        """Return what was put meanwhile; the end of all work is left for its turn."""
        jobs: _Batch = []
        while not self._jobs.empty():
            batch = self._jobs.get()
            if batch is None:
                self._jobs.put(None)
                break
            jobs += batch
        return jobs

    def _explained(self, result: Any) -> Any:
        if isinstance(result, sqlite3.Error | OSError):
            return UnavailableError("journal_unavailable", f"the journal {self._path} could not be used: {result}")
        return result


def _write(db: sqlite3.Connection, batch: _Batch, broken: BrokenHolds) -> _News:
    """Write the whole batch in one transaction."""
    try:
        if any(broken.error(job.hold) for job in batch):
            raise _Refused
        with db:
            db.execute("BEGIN IMMEDIATE")
            return _together(db, batch)
    except _Refused:
        with db:
            db.execute("BEGIN IMMEDIATE")
            return [(job.done, _alone(db, job, broken)) for job in batch]


def _together(db: sqlite3.Connection, batch: _Batch) -> _News:
    """Write all entries at once, after everything that is not last; the news are in the batch's order.

    Raises _Refused if something is not taken.
    """
    works = [job for job in batch if isinstance(job, _Work)]
    done = {job.done: _attempt(job.do, db) for job in works if not job.is_last}
    appends = [job for job in batch if isinstance(job, _Append)]
    for start in range(0, len(appends), _ROWS_MAX):
        rows = [job.row for job in appends[start : start + _ROWS_MAX]]
        written = _attempt(lambda db, rows=rows: _append(db, rows), db)  # type: ignore[misc]
        if written != len(rows):
            raise _Refused
    done.update((job.done, _attempt(job.do, db)) for job in works if job.is_last)
    if any(isinstance(result, Exception) for result in done.values()):
        raise _Refused
    return [(job.done, done.get(job.done)) for job in batch]


def _alone(db: sqlite3.Connection, job: _Work | _Append, broken: BrokenHolds) -> Any:
    """Write one job of a batch. Its failure is its own and its hold's, unless SQLite gave up the transaction (a full disk)."""
    result = broken.error(job.hold) or (_attempt(job.do, db) if isinstance(job, _Work) else _appended(db, job.row))
    if isinstance(result, Exception):
        broken.end(job.hold, result)
    return result


def _appended(db: sqlite3.Connection, row: _Row) -> Any:
    written = _attempt(lambda db: _append(db, [row]), db)
    return (None if written else taken_over(row[0])) if isinstance(written, int) else written


def _append(db: sqlite3.Connection, rows: Sequence[_Row]) -> int:
    """Return how many of ``rows`` were taken."""
    size = 1 << (len(rows) - 1).bit_length()
    values = chain.from_iterable((*rows, *repeat(_NO_ROW, size - len(rows))))
    return db.execute(_APPEND.format(rows=",".join(["(?,?,?,?)"] * size)), tuple(values)).rowcount


def _finished(db: sqlite3.Connection, values: dict[str, Any]) -> bool | None:
    """Return None if the run ends with this; else whether it is held as ``values`` say."""
    if db.execute(_FINISH, values).rowcount:
        return None
    return db.execute(_IS_OURS, values).fetchone() is not None


def _attempt(work: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> Any:
    """Return the result, or the database's error as a value; raise it if the transaction is gone, and with it the others' work."""
    inside = db.in_transaction
    try:
        return work(db)
    except sqlite3.Error as error:
        if inside and not db.in_transaction:
            raise
        return error


def _tell(news: _News) -> None:
    """Hand the results to the event loop that asked; a loop that has gone does not want them."""
    with suppress(RuntimeError):  # raised by a loop that is closed
        news[0][0].get_loop().call_soon_threadsafe(_settle, news)


def _settle(news: _News) -> None:
    for done, result in news:
        if done.cancelled():
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)
