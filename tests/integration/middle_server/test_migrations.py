"""The database's history: from nothing to the newest schema, again without effect, by any number of processes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from middle_server.migrate import migrate
from orca_protocol.errors import UnavailableError


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'middle'").fetchall()
    return {str(row[0]) for row in rows}


def test_an_empty_database_becomes_the_newest_and_stays_it(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_url] * 4))
    first = tables(empty_url)
    assert {"work_items", "leases", "results", "verdicts", "answers", "schema_version"} <= first
    with psycopg.connect(empty_url) as connection:
        connection.execute("INSERT INTO middle.nodes VALUES ('t', 'k', NULL, NULL, now(), now())")
    migrate(empty_url)
    assert tables(empty_url) == first
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT count(*) FROM middle.nodes").fetchone() == (1,)


def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="database_unavailable"):
        migrate("postgresql:///x?host=/nowhere")
