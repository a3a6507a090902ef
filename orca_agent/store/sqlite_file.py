"""The file of the SQLite journal: its tables, and how it is opened.

Entries stand in the file as they come, and calls that are about to be asked stand apart from them: a row that would grow
later, or go between others, costs whole pages.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, item_id TEXT NOT NULL, spec BLOB NOT NULL, epoch INTEGER NOT NULL,
    started REAL NOT NULL, deadline REAL, status TEXT, finished REAL, ceilings TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_item ON runs (item_id, started);
CREATE TABLE IF NOT EXISTS asked (
    run_id TEXT NOT NULL REFERENCES runs (id), path TEXT NOT NULL, times INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (run_id, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (run_id TEXT NOT NULL REFERENCES runs (id), path TEXT NOT NULL, entry TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_path ON entries (run_id, path);
PRAGMA user_version = 2
"""

_VERSION = 2
#: how long another process is waited for
_PATIENCE_SECONDS = 30
#: of the write-ahead log from the beginning: a quarter of what makes it begin anew
_LOG_BYTES = 1_000_000
#: version 1 had one table for both, and knew no ceilings
_FROM_1 = """
ALTER TABLE runs ADD COLUMN ceilings TEXT;
INSERT INTO asked SELECT run_id, path, asked, asked_at FROM entries_1 WHERE asked_at IS NOT NULL;
INSERT INTO entries SELECT run_id, path, entry FROM entries_1 WHERE entry IS NOT NULL;
DROP TABLE entries_1
"""


def opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)  # transactions are begun by hand
    try:
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        _patiently(lambda: _make_tables(db))
        _make_room(db, path)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _make_tables(db: sqlite3.Connection) -> None:
    """Make the tables of this version, whatever there was; only one of several processes does it."""
    if _version(db) == _VERSION:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        is_old = _version(db) < _VERSION and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone()
        scripts = ("ALTER TABLE entries RENAME TO entries_1", _SCHEMA, _FROM_1) if is_old else (_SCHEMA,)
        for script in scripts:
            for statement in script.split(";"):
                db.execute(statement)


def _make_room(db: sqlite3.Connection, path: Path) -> None:
    """Let the write-ahead log have its size before it is needed: a commit that does not make it longer is quicker (0.8 for 1.1 ms).

    What is given up after it went out of a small cache leaves the log as long as it made it, and nothing in it. Where that is not
    to be had at once, because another process writes or the disk is full, the log grows as it is used.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size >= _LOG_BYTES:
        return
    (usual,) = db.execute("PRAGMA cache_size").fetchone()
    with suppress(sqlite3.Error):
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA cache_size = 10")
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO runs (id, item_id, spec, epoch, started) VALUES ('', '', zeroblob(?), 0, 0)", (_LOG_BYTES,))
    if db.in_transaction:
        db.execute("ROLLBACK")
    db.execute(f"PRAGMA cache_size = {usual}")
    db.execute(f"PRAGMA busy_timeout = {_PATIENCE_SECONDS * 1000}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


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
