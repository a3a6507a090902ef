"""What is SQLite's own: one file, seen from outside, and what happens when it breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path as FilePath

import pytest

from orca_agent.store.journal import Hold
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.errors import UnavailableError
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
