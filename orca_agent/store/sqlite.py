"""The journal of one machine: SQLite in WAL mode, one writer thread, group commit.

Whatever was asked to be written while a commit was under way is written by the next one, in one transaction with
synchronous=FULL; so 200 agents that answer at once cost a few commits, not 200. A batch is one SQL statement over a
JSON array: the thread gives up the interpreter lock once a batch and not once a row.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from orca_agent.store.journal import Hold, Lost, RunRecord
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
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

# A row is [run id, epoch, path, asked, asked at, entry or null]. A row whose epoch is no longer the run's, or whose path
# already has its entry, changes nothing and is therefore missing from what the statement returns.
_WRITE = """
INSERT INTO entries (run_id, path, asked, asked_at, entry)
SELECT runs.id, json_extract(row.value, '$[2]'), json_extract(row.value, '$[3]'), json_extract(row.value, '$[4]'),
       json_extract(row.value, '$[5]')
  FROM json_each(?) AS row JOIN runs ON runs.id = json_extract(row.value, '$[0]') AND runs.epoch = json_extract(row.value, '$[1]')
 WHERE true
    ON CONFLICT (run_id, path) DO UPDATE
   SET asked = entries.asked + excluded.asked, asked_at = coalesce(excluded.asked_at, entries.asked_at), entry = excluded.entry
 WHERE entries.entry IS NULL
RETURNING run_id, path
"""

_RUN = "SELECT id, item_id, spec, started, deadline, status, finished FROM runs"

_Row = tuple[str, int, str, int, str | None, str | None]
_Batch = list[tuple[_Row, asyncio.Future[None]]]


@dataclass(frozen=True, slots=True)
class _Job:
    """Work for the writer thread, and who is told in the event loop how it went."""

    loop: asyncio.AbstractEventLoop
    work: Callable[[sqlite3.Connection], Any]
    done: Callable[[Any], None]
    failed: Callable[[OrcaError], None]

    def tell(self, listener: Callable[[Any], None], news: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(listener, news)


class SqliteJournal:
    """A Journal in the file ``path``; several processes may have it open, each run belongs to the last that took it."""

    def __init__(self, path: FilePath) -> None:
        self._path = path
        self._rows: _Batch = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def begin(self, run: RunRecord) -> Hold:
        """Record a new run and hold it."""
        values = (run.id, run.item_id, run.spec, run.started, run.deadline)
        sql = "INSERT INTO runs (id, item_id, spec, epoch, started, deadline) VALUES (?, ?, ?, 1, ?, ?)"
        await self._do(lambda db: db.execute(sql, values))
        return Hold(run.id, 1)

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
        return tuple(sorted((Entry.model_validate_json(row[0]) for row in rows), key=lambda entry: entry.path))

    async def lost(self, run_id: str) -> tuple[Lost, ...]:
        """Return the calls that were asked and have no entry."""
        sql = "SELECT path, asked, asked_at FROM entries WHERE run_id = ? AND entry IS NULL"
        rows = await self._do(lambda db: db.execute(sql, (run_id,)).fetchall())
        return tuple(
            sorted((Lost(Path(*map(int, path.split("."))), asked, at) for path, asked, at in rows), key=lambda lost: lost.path)
        )

    async def intend(self, hold: Hold, path: Path, asked_at: str) -> None:
        """Record that the call at ``path`` is about to be asked."""
        await self._write((hold.run_id, hold.epoch, str(path), 1, asked_at, None))

    async def append(self, hold: Hold, entry: Entry) -> None:
        """Record what became of a call."""
        text = entry.model_dump_json(exclude_none=True)
        await self._write((hold.run_id, hold.epoch, str(Path(*entry.path)), 0, None, text))

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

    async def _write(self, row: _Row) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._rows.append((row, done))
            is_first = len(self._rows) == 1
        if is_first:
            self._put(_Job(done.get_loop(), self._write_batch, lambda batch: _settle(*batch), self._fail_batch))
        await done

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Job(done.get_loop(), work, lambda result: _succeed(done, result), lambda error: _fail([done], error)))
        return await done

    def _put(self, job: _Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        db: sqlite3.Connection | None = None
        while (job := self._jobs.get()) is not None:
            try:
                db = db or _open(self._path)
                with db:
                    result = job.work(db)
            except (sqlite3.Error, OSError) as error:
                job.tell(
                    job.failed, UnavailableError("journal_unavailable", f"the journal {self._path} could not be used: {error}")
                )
            else:
                job.tell(job.done, result)
        if db is not None:
            db.close()

    def _take_batch(self) -> _Batch:
        with self._lock:
            batch, self._rows = self._rows, []
        return batch

    def _write_batch(self, db: sqlite3.Connection) -> tuple[_Batch, set[tuple[str, str]]]:
        batch = self._take_batch()
        try:
            rows = json.dumps([row for row, _ in batch], ensure_ascii=False)
            return batch, set(db.execute(_WRITE, (rows,)).fetchall())
        except sqlite3.Error:
            with self._lock:  # _fail_batch, which runs next, tells them
                self._rows = batch + self._rows
            raise

    def _fail_batch(self, error: OrcaError) -> None:
        _fail([done for _, done in self._take_batch()], error)


def _open(path: FilePath) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=30)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _settle(batch: _Batch, written: set[tuple[str, str]]) -> None:
    for row, done in batch:
        if done.cancelled():
            continue
        if (row[0], row[2]) in written:
            done.set_result(None)
        else:
            done.set_exception(_taken_over(row[0]))


def _succeed(done: asyncio.Future[T], result: T) -> None:
    if not done.cancelled():
        done.set_result(result)


def _fail(futures: list[asyncio.Future[Any]], error: OrcaError) -> None:
    for done in futures:
        if not done.cancelled():
            done.set_exception(error)


def _taken_over(run_id: str) -> InvalidError:
    return InvalidError("run_taken_over", f"run {run_id} was taken over by another process; this one writes nothing more of it")
