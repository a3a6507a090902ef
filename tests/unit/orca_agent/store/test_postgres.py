"""What is PostgreSQL's own: the schema's history, lost connections, batches that the database refuses in part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from orca.postgres import EmbeddedPostgres
from orca_agent.store.database import parameters
from orca_agent.store.journal import Hold
from orca_agent.store.migrate import migrate
from orca_agent.store.postgres import PostgresJournal
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Path
from tests.unit.orca_agent.store.samples import AT, RUN, entry


@pytest.fixture
async def journal(database_url: str) -> AsyncIterator[PostgresJournal]:
    journal = PostgresJournal(database_url)
    yield journal
    await journal.close()


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as db:
        return {row[0] for row in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'orca_agent'")}


def disconnect_others(postgres: EmbeddedPostgres, url: str) -> None:
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        name = url.partition("@/")[2].partition("?")[0]
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"empty_{abs(hash(request.node.name))}"
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} OWNER orca")
        yield postgres.url.replace("/orca?", f"/{name}?")
        db.execute(f"DROP DATABASE {name}")


def test_an_empty_database_gets_the_schema_and_a_second_time_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    found = tables(empty_database)
    assert {"runs", "entries", "queue", "schema_version", "procrastinate_jobs"} <= found
    migrate(empty_database)
    assert tables(empty_database) == found


def test_nodes_that_start_together_migrate_in_turn(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_database] * 4))
    assert "runs" in tables(empty_database)


def test_scripts_of_the_queue_that_came_since_are_applied(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(**parameters(empty_database, "test")) as db:
        scripts = db.execute("SELECT last_script FROM queue_schema").fetchall()
        db.execute("UPDATE queue_schema SET last_script = '03.04.00_01_pre_add_retry_failed_job_procedure.sql'")
    migrate(empty_database)
    with psycopg.connect(**parameters(empty_database, "test")) as db:
        assert db.execute("SELECT last_script FROM queue_schema").fetchall() == scripts


def test_a_migration_that_fails_changes_nothing(empty_database: str) -> None:
    with psycopg.connect(empty_database) as db:
        db.execute("CREATE SCHEMA orca_agent CREATE TABLE entries (in_the_way int)")
    with pytest.raises(UnavailableError, match="migration_failed"):
        migrate(empty_database)
    assert tables(empty_database) == {"entries"}


def test_a_commit_lasts_whatever_the_servers_default(database_url: str) -> None:
    with psycopg.connect(**parameters(f"{database_url}&options=-c%20synchronous_commit%3Doff%20-c%20work_mem%3D8MB", "t")) as db:
        assert db.execute("SELECT current_setting('synchronous_commit'), current_setting('work_mem')").fetchone() == ("on", "8MB")


async def test_an_append_is_committed_before_it_returns(journal: PostgresJournal, database_url: str) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    async with await psycopg.AsyncConnection.connect(database_url) as db:
        found = await db.execute("SELECT count(*) FROM orca_agent.entries WHERE entry IS NOT NULL")
        assert await found.fetchone() == (1,)


async def test_a_lost_connection_is_made_again_and_the_write_is_not_lost(
    journal: PostgresJournal, postgres: EmbeddedPostgres, database_url: str
) -> None:
    hold = await journal.begin(RUN)
    disconnect_others(postgres, database_url)
    await asyncio.gather(*(journal.append(hold, entry(Path(1, 0, place))) for place in range(10)))
    disconnect_others(postgres, database_url)
    assert len(await journal.entries("r1")) == 10
    disconnect_others(postgres, database_url)
    await journal.intend(hold, [Path(1, 1, 0)], AT)
    assert len(await journal.lost("r1")) == 1


async def test_an_entry_that_was_written_before_the_connection_was_lost_may_be_written_again(journal: PostgresJournal) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    await journal.append(hold, entry(Path(1, 0, 0)))
    assert len(await journal.entries("r1")) == 1


async def test_a_database_that_is_gone_is_unavailable_and_comes_back(
    journal: PostgresJournal, postgres: EmbeddedPostgres, database_url: str
) -> None:
    hold = await journal.begin(RUN)
    journal._pool.timeout = 0.3
    name = database_url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            disconnect_others(postgres, database_url)
            writes = [journal.append(hold, entry(Path(1, 0, 0))), journal.entries("r1"), journal.take("r1")]
            results = await asyncio.gather(*writes, return_exceptions=True)
        finally:
            db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert [type(result) for result in results] == [UnavailableError] * 3
    assert {result.code for result in results if isinstance(result, UnavailableError)} == {"journal_unavailable"}
    journal._pool.timeout = 30
    await journal.append(await journal.take("r1"), entry(Path(1, 0, 0)))
    assert len(await journal.entries("r1")) == 1


async def test_what_the_database_refuses_of_a_batch_leaves_the_rest_written(journal: PostgresJournal) -> None:
    hold, other = await journal.begin(RUN), await journal.begin(replace(RUN, id="r2"))
    wrong = journal.intend(other, [Path(1, 0, 5)], "a\0b")
    results = await asyncio.gather(
        journal.append(hold, entry(Path(1, 0, 0))), wrong, journal.append(hold, entry(Path(1, 0, 1))), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), UnavailableError, type(None)]
    assert len(await journal.entries("r1")) == 2


async def test_writes_of_many_runs_share_a_batch(journal: PostgresJournal) -> None:
    holds = [await journal.begin(replace(RUN, id=f"r{number}")) for number in range(20)]
    await asyncio.gather(*(journal.append(hold, entry(Path(1, 0, 0))) for hold in holds))
    unknown = journal.append(Hold("r99", 1), entry(Path(1, 0, 0)))
    with pytest.raises(Exception, match="run_taken_over"):
        await unknown
    assert [len(await journal.entries(hold.run_id)) for hold in holds] == [1] * 20


async def test_a_damaged_row_is_said_to_be_damaged(journal: PostgresJournal, database_url: str) -> None:
    hold = await journal.begin(RUN)
    await journal.append(hold, entry(Path(1, 0, 0)))
    async with await psycopg.AsyncConnection.connect(database_url) as db:
        await db.execute("UPDATE orca_agent.entries SET entry = '{}'")
    with pytest.raises(InvalidError, match="journal_damaged"):
        await journal.entries("r1")


async def test_a_bug_in_a_batch_is_told_to_its_callers_and_the_writer_goes_on(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await journal.begin(RUN)
    with monkeypatch.context() as patch:
        patch.setattr("orca_agent.store.postgres.waves", None)
        with pytest.raises(TypeError):
            await journal.append(hold, entry(Path(1, 0, 0)))
    await journal.append(await journal.take("r1"), entry(Path(1, 0, 0)))


async def test_closing_writes_what_is_due(journal: PostgresJournal, database_url: str) -> None:
    hold = await journal.begin(RUN)
    tasks = [asyncio.create_task(journal.append(hold, entry(Path(1, 0, place)))) for place in range(5)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*tasks)
    other = PostgresJournal(database_url)
    assert len(await other.entries("r1")) == 5
    await other.close()
