"""Brings a database to today's schema: the agent's tables by Alembic, the queue's own by the scripts it ships.

Whoever owns the deployment runs this before any part starts. Running it again, or twice at once, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from procrastinate.schema import SchemaManager, migrations_path

from orca_agent.store.database import SCHEMA, parameters
from orca_protocol.errors import UnavailableError

#: held while migrating, so that two nodes that start together take turns; any constant would do
_LOCK = 0x6F726361
_MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(url: str) -> None:
    """Bring the database at ``url`` to the newest schema. Raises UnavailableError ``migration_failed``."""
    try:
        with _connection(url) as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            _migrate_queue(connection)
            command.upgrade(_config(connection), "head")
    except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error) as error:
        said = " ".join(str(error).split())[:500]
        raise UnavailableError("migration_failed", f"the schema of the database could not be brought up to date: {said}") from error


@contextmanager
def _connection(url: str) -> Iterator[sqlalchemy.Connection]:
    """Yield a connection whose one transaction is committed at the end."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(**parameters(url, "orca-migrate")), poolclass=sqlalchemy.NullPool
    )
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _config(connection: sqlalchemy.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate_queue(connection: sqlalchemy.Connection) -> None:
    """Make procrastinate's tables, or apply those of its scripts that came since; the last one's name is kept."""
    scripts = sorted(Path(migrations_path).glob("*.sql"))
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("an open connection has a driver")
    driver.execute("CREATE TABLE IF NOT EXISTS queue_schema (last_script text NOT NULL)")
    row = driver.execute("SELECT last_script FROM queue_schema").fetchone()
    if row is None:
        driver.execute(SchemaManager.get_schema())
        driver.execute("INSERT INTO queue_schema VALUES (%s)", (scripts[-1].name,))
        return
    for script in scripts:
        if script.name > row[0]:
            driver.execute(script.read_text())
    driver.execute("UPDATE queue_schema SET last_script = greatest(last_script, %s)", (scripts[-1].name,))
