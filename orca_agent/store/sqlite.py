"""The journal of one machine: SQLite in WAL mode, one writer thread, group commit.

Whatever was asked to be written while a commit was under way is written by the next one, in one transaction with
synchronous=FULL; so 200 agents that answer at once cost a few commits, not 200. All entries of a batch are one SQL
statement over a JSON array: the thread gives up the interpreter lock once a batch and not once a row.
"""

from __future__ import annotations

import asyncio
import functools
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from orca_agent.store.journal import FIRST_EPOCH, Hold, Lost, RunRecord
from orca_agent.store.waves import waves
from orca_protocol.documents import describe
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, item_id TEXT NOT NULL, spec BLOB NOT NULL, epoch INTEGER NOT NULL,
    started REAL NOT NULL, deadline REAL, status TEXT, finished REAL
);
CREATE INDEX IF NOT EXISTS runs_by_item ON runs (item_id, started);
CREATE TABLE IF NOT EXISTS entries (
    run_id TEXT NOT NULL REFERENCES runs (id), path TEXT NOT NULL,
    asked INTEGER NOT NULL, asked_at TEXT, entry TEXT,
    PRIMARY KEY (run_id, path)
) WITHOUT ROWID;
"""

# Both statements change nothing, and return nothing, where the run has another epoch or the path has its entry already.
_INTEND = """
INSERT INTO entries (run_id, path, asked, asked_at)
SELECT runs.id, path.value, 1, :at FROM json_each(:paths) AS path JOIN runs ON runs.id = :run AND runs.epoch = :epoch
 WHERE true
    ON CONFLICT (run_id, path) DO UPDATE SET asked = entries.asked + 1, asked_at = excluded.asked_at WHERE entries.entry IS NULL
RETURNING path
"""

# A row is [run id, epoch, path, entry].
_APPEND = """
INSERT INTO entries (run_id, path, asked, entry)
SELECT runs.id, json_extract(row.value, '$[2]'), 0, json_extract(row.value, '$[3]')
  FROM json_each(?) AS row JOIN runs ON runs.id = json_extract(row.value, '$[0]') AND runs.epoch = json_extract(row.value, '$[1]')
 WHERE true
    ON CONFLICT (run_id, path) DO UPDATE SET entry = excluded.entry WHERE entries.entry IS NULL
RETURNING run_id, path
"""

_RUN = "SELECT id, item_id, spec, started, deadline, status, finished FROM runs"

_Row = tuple[str, int, str, str]
_Done = asyncio.Future[Any]
#: what the event loop is told: a future and its result, or the error that it ends with
_News = list[tuple[_Done, Any]]


@dataclass(frozen=True, slots=True)
class _Work:
    """Something to do with the database, in the transaction of its batch."""

    done: _Done
    do: Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Append:
    """A row for ``_APPEND``."""

    done: _Done
    row: _Row


class SqliteJournal:
    """A Journal in the file ``path``; several processes may have it open, each run belongs to the last that took it."""

    def __init__(self, path: FilePath) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Work | _Append | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def begin(self, run: RunRecord) -> Hold:
        """Record a new run and hold it."""
        values = (run.id, run.item_id, run.spec, FIRST_EPOCH, run.started, run.deadline)
        sql = "INSERT INTO runs (id, item_id, spec, epoch, started, deadline) VALUES (?, ?, ?, ?, ?, ?)"
        await self._do(lambda db: db.execute(sql, values))
        return Hold(run.id, FIRST_EPOCH)

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
        sql = "SELECT entry FROM entries WHERE run_id = ? AND entry IS NOT NULL"
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        try:
            return tuple(sorted((Entry.model_validate_json(row[0]) for row in rows), key=lambda entry: entry.path))
        except ValidationError as error:
            raise InvalidError("journal_damaged", f"run {run_id} in {self._path} cannot be read: {describe(error)}") from error

    async def lost(self, run_id: str) -> tuple[Lost, ...]:
        """Return the calls that were asked and have no entry."""
        sql = "SELECT path, asked, asked_at FROM entries WHERE run_id = ? AND entry IS NULL"
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        return tuple(
            sorted((Lost(Path(*map(int, path.split("."))), asked, at) for path, asked, at in rows), key=lambda lost: lost.path)
        )

    async def intend(self, hold: Hold, paths: Sequence[Path], asked_at: str) -> None:
        """Record that the calls at ``paths`` are about to be asked."""
        values = {"run": hold.run_id, "epoch": hold.epoch, "at": asked_at, "paths": json.dumps([str(path) for path in paths])}
        if len(await self._do(lambda db: db.execute(_INTEND, values).fetchall())) != len(paths):
            raise _taken_over(hold.run_id)

    async def append(self, hold: Hold, entry: Entry) -> None:
        """Record what became of a call."""
        row = (hold.run_id, hold.epoch, str(Path(*entry.path)), entry.model_dump_json(exclude_none=True))
        done = asyncio.get_running_loop().create_future()
        self._put(_Append(done, row))
        await done

    async def finish(self, hold: Hold, status: str, finished: float) -> None:
        """Record that the run has ended; the first time counts."""
        sql = """UPDATE runs SET status = coalesce(status, ?), finished = coalesce(finished, ?)
                  WHERE id = ? AND epoch = ? RETURNING id"""
        rows = await self._do(lambda db: db.execute(sql, (status, finished, hold.run_id, hold.epoch)).fetchall())
        if not rows:
            raise _taken_over(hold.run_id)

    async def close(self) -> None:
        """Write what is due and stop the writer."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Work(done, work))
        return await done

    def _put(self, job: _Work | _Append) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        db: sqlite3.Connection | None = None
        while (first := self._jobs.get()) is not None:
            batch = [first, *self._waiting()]
            try:
                db = db or _open(self._path)
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    news = _write(db, batch)
            except Exception as error:  # noqa: BLE001 - the thread's outermost loop: whoever waits must be told, whatever it was
                news = [(job.done, error) for job in batch]
            _tell([(done, self._explained(result)) for done, result in news])
        if db is not None:
            db.close()

    def _waiting(self) -> list[_Work | _Append]:
        """Return what was put meanwhile; the end of all work is left for its turn."""
        jobs: list[_Work | _Append] = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _explained(self, result: Any) -> Any:
        if isinstance(result, sqlite3.Error | OSError):
            return UnavailableError("journal_unavailable", f"the journal {self._path} could not be used: {result}")
        return result


def _write(db: sqlite3.Connection, batch: Sequence[_Work | _Append]) -> _News:
    """Do the whole batch. One job's failure is its own, unless SQLite gave up the transaction over it (a full disk)."""
    news: _News = [(job.done, _attempt(job.do, db)) for job in batch if isinstance(job, _Work)]
    appends = [job for job in batch if isinstance(job, _Append)]
    for wave in waves(appends, key=lambda job: (job.row[0], job.row[2])):
        rows = json.dumps([job.row for job in wave], ensure_ascii=False)
        written = _attempt(functools.partial(_append, rows), db)
        news += [(job.done, _append_result(job.row, written)) for job in wave]
    return news


def _append(rows: str, db: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(db.execute(_APPEND, (rows,)).fetchall())


def _attempt(work: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> Any:
    """Return the result, or the database's error as a value; raise it if the transaction is gone, and with it the others' work."""
    try:
        return work(db)
    except sqlite3.Error as error:
        if not db.in_transaction:
            raise
        return error


def _append_result(row: _Row, written: set[tuple[str, str]] | sqlite3.Error) -> Any:
    if isinstance(written, sqlite3.Error):
        return written
    return None if (row[0], row[2]) in written else _taken_over(row[0])


def _open(path: FilePath) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=30, isolation_level=None)  # transactions are begun by hand
    try:
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        _patiently(lambda: db.executescript(_SCHEMA))
    except sqlite3.Error:
        db.close()
        raise
    return db


def _patiently(work: Callable[[], object]) -> None:
    """Try for some seconds: of two processes that open a new file at once, SQLite sends one away without waiting."""
    for _ in range(100):
        try:
            work()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
        else:
            return
    work()


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


def _taken_over(run_id: str) -> InvalidError:
    return InvalidError("run_taken_over", f"run {run_id} was taken over by another process; this one writes nothing more of it")
