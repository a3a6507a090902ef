"""The SQLite journal: durable, first entry wins, one holder at a time, errors that say what is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path as FilePath

import pytest

from orca_agent.store.journal import Hold, RunRecord
from orca_agent.store.sqlite import SqliteJournal
from orca_protocol.canonical import digest_of
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path, entry_for
from orca_protocol.model import Answer, Attempt, Message, ModelIdentity, ModelRequest

REQUEST = ModelRequest(model="m", messages=(Message(role="user", content="Tä'sk\u2028"),), max_tokens=5, temperature=0.5, seed=7)
RUN = RunRecord(id="r1", item_id="i", spec=b"{}", started=100.0, deadline=160.0)
AT = "2026-01-01T00:00:00.000Z"


def entry(path: Path, text: str = "yes") -> Entry:
    answer = Answer(content=text, finish_reason="stop", model=ModelIdentity(provider="p", model="m"))
    attempt = Attempt(started=AT, duration_ms=3, outcome="answer")
    return entry_for(path, "A", REQUEST, digest_of(REQUEST.document()), answer, (attempt,))


@pytest.fixture
async def journal(tmp_path: FilePath) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "sub" / "journal.db")
    yield journal
    await journal.close()


async def test_what_was_appended_is_there_for_the_next_process_in_path_order(journal: SqliteJournal, tmp_path: FilePath) -> None:
    hold = await journal.begin(RUN)
    wanted = [entry(Path(1, step, 0)) for step in (10, 2, 0)]
    await asyncio.gather(*(journal.append(hold, one) for one in wanted))
    other = SqliteJournal(tmp_path / "sub" / "journal.db")
    assert await other.entries("r1") == tuple(reversed(wanted))
    assert await other.latest("i") == RUN
    assert await other.latest("another item") is None
    await other.close()


async def test_an_append_is_committed_before_it_returns(journal: SqliteJournal, tmp_path: FilePath) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    with closing(sqlite3.connect(tmp_path / "sub" / "journal.db")) as db:
        assert db.execute("SELECT count(*) FROM entries WHERE entry IS NOT NULL").fetchone() == (1,)


async def test_an_intent_without_an_entry_is_a_lost_call_and_counts_each_time(journal: SqliteJournal) -> None:
    hold = await journal.begin(RUN)
    await journal.intend(hold, [Path(1, 0, 0), Path(1, 0, 1)], AT)
    await journal.intend(hold, [Path(1, 0, 1)], AT)
    await journal.append(hold, entry(Path(1, 0, 0)))
    (lost,) = await journal.lost("r1")
    assert (lost.path, lost.times, lost.asked_at) == (Path(1, 0, 1), 2, AT)


async def test_the_first_entry_at_a_path_stays(journal: SqliteJournal) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0), "first"))
    with pytest.raises(InvalidError):
        await journal.append(hold, entry(Path(1, 0, 0), "second"))
    (kept,) = await journal.entries("r1")
    assert kept == entry(Path(1, 0, 0), "first")


async def test_who_lost_the_run_to_another_process_is_refused_every_write(journal: SqliteJournal) -> None:
    zombie = await journal.begin(RUN)
    await journal.append(zombie, entry(Path(1, 0, 0)))
    hold = await journal.take("r1")
    writes = [
        journal.append(zombie, entry(Path(1, 0, 1))),
        journal.intend(zombie, [Path(1, 0, 1)], AT),
        journal.finish(zombie, "success", 1.0),
    ]
    for write in writes:
        with pytest.raises(InvalidError) as caught:
            await write
        assert caught.value.code == "run_taken_over"
    await journal.append(hold, entry(Path(1, 0, 1)))
    assert len(await journal.entries("r1")) == 2


async def test_two_hundred_writers_at_once_are_all_told_the_truth(journal: SqliteJournal) -> None:
    hold = await journal.begin(RUN)
    stale = Hold("r1", hold.epoch - 1)
    results = await asyncio.gather(
        *(journal.append(hold if place % 2 else stale, entry(Path(1, 0, place))) for place in range(200)), return_exceptions=True
    )
    assert [result is None for result in results] == [bool(place % 2) for place in range(200)]
    assert [one.path[2] for one in await journal.entries("r1")] == list(range(1, 200, 2))


async def test_the_first_end_of_a_run_is_the_one_that_stays(journal: SqliteJournal) -> None:
    hold = await journal.begin(RUN)
    await journal.finish(hold, "partial", 120.0)
    await journal.finish(hold, "success", 130.0)
    found = await journal.latest("i")
    assert found is not None
    assert (found.status, found.finished) == ("partial", 120.0)


async def test_the_run_begun_last_is_the_latest(journal: SqliteJournal) -> None:
    for number in (1, 2):
        await journal.begin(RunRecord(id=f"r{number}", item_id="i", spec=b"{}", started=100.0, deadline=None))
    found = await journal.latest("i")
    assert found is not None
    assert found.id == "r2"


async def test_a_run_that_was_never_begun_cannot_be_taken(journal: SqliteJournal) -> None:
    with pytest.raises(InvalidError, match="run_unknown"):
        await journal.take("r9")


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
