"""How hypothesis runs: new examples each time, no time limit for one example, more of them in CI. And one PostgreSQL for all."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

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
    """One embedded server for all tests; its database ``orca`` has the schema and stays empty."""
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


@pytest.fixture(scope="session")
def make_database(postgres: EmbeddedPostgres) -> Callable[[], str]:
    """Makes a new database with the schema and returns its URL."""
    numbers = itertools.count()

    def make() -> str:
        name = f"test{next(numbers)}"
        with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE orca OWNER orca")
        return postgres.url.replace("/orca?", f"/{name}?")

    return make


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """A new database with the schema."""
    return make_database()
