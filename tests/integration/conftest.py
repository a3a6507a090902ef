"""One PostgreSQL for the session, one fresh database for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from middle_server.migrate import migrate
from tests.fakes.postgres import postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> str:
    """The name of a database at the newest schema, which others are copied from."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    migrate(postgres_url.replace("/postgres?", "/migrated?"))
    return "migrated"


def fresh(postgres_url: str, template: str) -> Iterator[str]:
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield postgres_url.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def database_url(postgres_url: str, migrated: str) -> Iterator[str]:
    """A database at the newest schema, of this test's own."""
    yield from fresh(postgres_url, migrated)


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """An empty database of this test's own."""
    yield from fresh(postgres_url, "template0")
