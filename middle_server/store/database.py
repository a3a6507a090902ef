"""A bounded pool of connections. What PostgreSQL cannot do now becomes UnavailableError; what we did wrong stays its error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from orca_protocol.errors import UnavailableError

Connection = AsyncConnection[Any]


class Database:
    """Hands out transactions, each on a connection of its own."""

    def __init__(self, url: str, *, pool_size: int, seconds: float) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            max_waiting=8 * pool_size,
            timeout=seconds,
            open=False,
            check=AsyncConnectionPool.check_connection,
            kwargs={"connect_timeout": max(2, round(seconds)), "options": f"-c statement_timeout={round(seconds * 1000)}"},
            # A database that goes away is noticed by the request that needs it, not by a traceback from a thread.
            reconnect_timeout=seconds,
        )

    async def open(self) -> None:
        """Start connecting; a database that is not there yet is answered for by each request."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Commit at the end of the block, roll back if it raises. Raises UnavailableError ``database_unavailable``."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                yield connection
        except (PoolTimeout, PoolClosed, TooManyRequests, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise UnavailableError(
                "database_unavailable", "the database did not answer in time; try again", retry_after=1.0
            ) from error


# The schema's version; says by the way that the database answers.
_PING = "SELECT version_num FROM middle.schema_version"


async def ping(connection: Connection) -> str:
    """Return the version of the schema. Raises UnavailableError ``database_empty`` where nobody has migrated."""
    try:
        row = await (await connection.execute(_PING)).fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise UnavailableError("database_empty", "the database has no tables yet; start the server, which makes them") from error
    if row is None:
        raise UnavailableError("database_empty", "the database has no tables yet; start the server, which makes them")
    return str(row[0])
