"""How hypothesis runs: new examples each time, no time limit for one example, more of them in CI. And each process's PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from xdist.remote import Producer

from middle_server.migrate import migrate as migrate_middle
from orca.postgres import EmbeddedPostgres
from orca_agent.store.migrate import migrate
from orca_protocol.errors import UnavailableError
from tests.emptying import empty
from tests.spreading import Spreading, rank

settings.register_profile("here", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spreading:
    """What a process does next, where there are several."""
    return Spreading(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the longest begin first, where there are several processes; all else keeps its order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


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
    empty(postgres.superuser_url.replace("/postgres?", "/orca?"))
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
    empty(middle_migrated)
    return middle_migrated
