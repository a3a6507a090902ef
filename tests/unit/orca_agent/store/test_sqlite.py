"""What is SQLite's own: one file, seen from outside, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path as FilePath

import pytest

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
        assert db.execute("SELECT count(*) FROM entries WHERE entry IS NOT NULL").fetchone() == (1,)


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
    await journal.append(hold, entry(Path(1, 0, 0)))
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
