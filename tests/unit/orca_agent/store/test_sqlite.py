"""What is SQLite's own: one file, seen from outside, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path as FilePath

import pytest

from orca_agent.store import sqlite_file
from orca_agent.store.journal import Hold, RunRecord
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Path
from tests.unit.orca_agent.store.samples import RUN, entry


@pytest.fixture
async def journal(tmp_path: FilePath) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "sub" / "journal.db")
    yield journal
    await journal.close()


async def test_an_append_is_committed_before_it_returns(journal: SqliteJournal, tmp_path: FilePath) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    with closing(sqlite3.connect(tmp_path / "sub" / "journal.db")) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (1,)


async def test_a_broken_database_is_said_to_be_unavailable_and_names_the_file(tmp_path: FilePath) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is not a database" * 100)
    journal = SqliteJournal(path)
    with pytest.raises(UnavailableError, match=r"journal\.db"):
        await journal.begin(RUN)
    with pytest.raises(UnavailableError):
        await journal.append(Hold("r1", 1), entry(Path(1, 0, 0)))
    await journal.close()


async def test_a_full_disk_fails_the_write_and_the_journal_goes_on_when_there_is_room(
    journal: SqliteJournal, tmp_path: FilePath
) -> None:
    hold = await journal.begin(RUN)
    blocker = sqlite3.connect(tmp_path / "sub" / "journal.db", isolation_level=None)
    blocker.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
    with pytest.raises(UnavailableError, match="full"):
        await journal.append(hold, entry(Path(1, 0, 0)))
    blocker.execute("DROP TRIGGER full")
    blocker.close()
    await journal.append(await journal.take("r1"), entry(Path(1, 0, 0)))
    assert len(await journal.entries("r1")) == 1


async def test_a_full_disk_that_ends_the_transaction_fails_everything_in_it(tmp_path: FilePath) -> None:
    """SQLite gives up the whole transaction over it: nobody in the batch may be told that his write is durable."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path)
    await journal.latest("warm up")
    small = RunRecord(id="small", item_id="i", spec=b"{}", started=1.0, deadline=None)
    big = RunRecord(id="big", item_id="i", spec=b"x" * 2_000_000, started=2.0, deadline=None)
    await journal._do(lambda db: db.execute("PRAGMA max_page_count = 40").fetchall())
    results = await asyncio.gather(journal.begin(small), journal.begin(big), return_exceptions=True)
    assert isinstance(results[1], UnavailableError)
    is_there = await journal.latest("i")
    assert isinstance(results[0], UnavailableError) == (is_there is None)
    await journal.close()


async def test_a_bug_in_a_job_is_told_to_its_caller_and_the_writer_goes_on(journal: SqliteJournal) -> None:
    def broken(db: sqlite3.Connection) -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        await asyncio.wait_for(journal._do(broken), 10)
    await asyncio.wait_for(journal.begin(RUN), 10)


async def test_a_damaged_row_is_said_to_be_damaged(journal: SqliteJournal, tmp_path: FilePath) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    with closing(sqlite3.connect(tmp_path / "sub" / "journal.db")) as db, db:
        db.execute("UPDATE entries SET entry = '{}'")
    with pytest.raises(InvalidError, match="journal_damaged"):
        await journal.entries("r1")


async def test_every_commit_reaches_the_disk_before_it_is_reported(journal: SqliteJournal) -> None:
    await journal.begin(RUN)
    assert await journal._do(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await journal._do(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


_VERSION_1 = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, item_id TEXT NOT NULL, spec BLOB NOT NULL, epoch INTEGER NOT NULL,
    started REAL NOT NULL, deadline REAL, status TEXT, finished REAL
);
CREATE INDEX runs_by_item ON runs (item_id, started);
CREATE TABLE entries (
    run_id TEXT NOT NULL REFERENCES runs (id), path TEXT NOT NULL,
    asked INTEGER NOT NULL, asked_at TEXT, entry TEXT,
    PRIMARY KEY (run_id, path)
) WITHOUT ROWID;
INSERT INTO runs (id, item_id, spec, epoch, started) VALUES ('r1', 'i', x'7b7d', 1, 100.0);
"""


async def test_the_journal_of_an_earlier_version_is_taken_over_whoever_comes_first(tmp_path: FilePath) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(_VERSION_1)
        line = entry(Path(1, 0, 0)).model_dump_json(exclude_none=True)
        rows = [("r1", "1.0.0.0.0", 1, "T", line), ("r1", "1.0.1.0.0", 2, "T", None)]
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)
    journals = [SqliteJournal(path) for _ in range(3)]
    found = await asyncio.gather(*(journal.entries("r1") for journal in journals))
    assert found == [(entry(Path(1, 0, 0)),)] * 3
    (lost,) = await journals[0].lost("r1")
    assert (lost.path, lost.times, lost.asked_at) == (Path(1, 0, 1), 2, "T")
    for journal in journals:
        await journal.close()


async def test_batches_of_every_size_are_written_whole(journal: SqliteJournal) -> None:
    hold, number = await journal.begin(RUN), 0
    for size in (1, 2, 3, 5, 255, 256, 257, 600):
        await asyncio.gather(*(journal.append(hold, entry(Path(1, 0, number + place))) for place in range(size)))
        number += size
    assert [one.path[2] for one in await journal.entries("r1")] == list(range(number))


async def test_commits_do_not_make_the_log_longer_and_what_made_it_long_is_not_in_the_file(
    journal: SqliteJournal, tmp_path: FilePath
) -> None:
    log = tmp_path / "sub" / "journal.db-wal"
    hold = await journal.begin(RUN)
    size = log.stat().st_size
    assert size >= 1_000_000
    for step in range(10):
        await journal.append(hold, entry(Path(1, step, 0)))
    assert log.stat().st_size == size
    with closing(sqlite3.connect(tmp_path / "sub" / "journal.db")) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_log_that_cannot_be_made_long_at_once_grows_as_it_is_used(tmp_path: FilePath) -> None:
    """Another process writes for longer than anybody wants to wait for what only makes commits quicker."""
    path = tmp_path / "journal.db"
    sqlite_file.opened(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with closing(sqlite_file.opened(path)) as db:
            assert time.monotonic() - started < 5
            assert (tmp_path / "journal.db-wal").stat().st_size < 1_000_000
            assert db.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
            assert db.execute("PRAGMA cache_size").fetchone() == other.execute("PRAGMA cache_size").fetchone()


def test_a_log_that_is_long_already_is_left_alone(tmp_path: FilePath) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite_file.opened(path)):
        before = (tmp_path / "journal.db-wal").stat().st_mtime_ns
        with closing(sqlite_file.opened(path)) as db:
            assert (tmp_path / "journal.db-wal").stat().st_mtime_ns == before
            assert db.execute("PRAGMA cache_size").fetchone() == (-2000,)
