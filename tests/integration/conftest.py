"""The session's PostgreSQL, in a database of the middle server's own; each test begins with empty tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from middle_server.migrate import migrate
from orca.postgres import EmbeddedPostgres
from tests.emptying import empty


@pytest.fixture(scope="session")
def postgres_url(postgres: EmbeddedPostgres) -> str:
    """The superuser's address of the session's server."""
    return postgres.superuser_url


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> str:
    """The name of a database at the newest schema."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    migrate(postgres_url.replace("/postgres?", "/migrated?"))
    return "migrated"


@pytest.fixture
def database_url(postgres_url: str, migrated: str) -> str:
    """The database at the newest schema, with nothing in it."""
    url = postgres_url.replace("/postgres?", f"/{migrated}?")
    empty(url)
    return url


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """An empty database of this test's own."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        yield postgres_url.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
