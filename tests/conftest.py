"""How hypothesis runs: new examples each time, no time limit for one example, more of them in CI. And one PostgreSQL for all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from middle_server.migrate import migrate as migrate_middle
from orca.postgres import EmbeddedPostgres
from orca_agent.store.migrate import migrate
from orca_protocol.errors import UnavailableError

settings.register_profile("here", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that another account can reach, as PostgreSQL's must be where we are root; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="orca-tests-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """One embedded server for all tests. Its database ``orca`` has the schema."""
    server = EmbeddedPostgres(open_folder / "shared", settings={"fsync": "off"})
    try:
        server.start()
    except UnavailableError as error:
        if error.code != "postgres_missing":
            raise
        pytest.skip(error.detail)
    try:
        migrate(server.url)
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> str:
    """A database with the schema and nothing in it; whatever an earlier test left open is cut off."""
    with psycopg.connect(postgres.superuser_url.replace("/postgres?", "/orca?"), autocommit=True) as db:
        db.execute("""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        db.execute("SET search_path = orca_agent")
        db.execute("TRUNCATE runs, entries, events, event_counts, queue, procrastinate_jobs, procrastinate_workers CASCADE")
        db.execute("TRUNCATE api_keys, reservations, rate_windows, rate_hits CASCADE")
        db.execute("TRUNCATE proofs, assignments, reviews, rounds CASCADE")
    return postgres.url


@pytest.fixture(scope="session")
def middle_migrated(postgres: EmbeddedPostgres) -> str:
    """The superuser's address of a middle server's database at the newest schema."""
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute("CREATE DATABASE middle_of_units")
    url = postgres.superuser_url.replace("/postgres?", "/middle_of_units?")
    migrate_middle(url)
    return url


@pytest.fixture
def middle_url(middle_migrated: str) -> str:
    """A middle server's database with nothing in it, beside a node's own."""
    with psycopg.connect(middle_migrated, autocommit=True) as db:
        db.execute("""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        named = "SELECT tablename FROM pg_tables WHERE schemaname = 'middle' AND tablename <> 'schema_version'"
        tables = ", ".join(f"middle.{row[0]}" for row in db.execute(named).fetchall())
        db.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())
    return middle_migrated
