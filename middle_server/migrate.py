"""Bring the database to the newest schema. Any number of processes may do so at once, and again."""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from orca_protocol.errors import UnavailableError

_SCRIPTS = Path(__file__).parent / "migrations"
#: any number, the same in every process: who holds this lock migrates, the others wait
_LOCK = 0x6D6964646C65


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade to ``revision``. Raises UnavailableError ``database_unavailable``."""
    # SQLAlchemy is Alembic's; it is given psycopg's connection so that one spelling of the address serves both.
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url), poolclass=NullPool)
    config = Config()
    # The path is Alembic's own setting; "%" would mean something in it.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            connection.execute(text("CREATE SCHEMA IF NOT EXISTS middle"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    except OperationalError as error:
        raise UnavailableError("database_unavailable", f"the database could not be used: {_one_line(error.orig)}") from error


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__
