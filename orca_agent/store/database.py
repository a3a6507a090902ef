"""How the agent's parts connect to PostgreSQL: their own schema, commits that last, no wait without an end."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

#: everything of the agent is in here, so that others may use the same database
SCHEMA = "orca_agent"

Connection = AsyncConnection[TupleRow]


class Pool(AsyncConnectionPool[Connection]):
    """A pool that loses no cancellation: until Python 3.12, ``asyncio.wait_for`` drops one that comes with what it waits for."""

    async def getconn(self, timeout: float | None = None) -> Connection:
        """Return a connection. A task that was cancelled while it waited for one ends here, and not never."""
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        connection = await super().getconn(timeout)
        if task is not None and task.cancelling() > before:
            await self.putconn(connection)
            raise asyncio.CancelledError
        return connection


# A commit is on disk before it is reported, whatever the server's default; a dead peer is noticed.
_SESSION = f"-c search_path={SCHEMA} -c synchronous_commit=on -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s"


def parameters(url: str, name: str) -> dict[str, Any]:
    """Return what psycopg needs to connect to the agent's schema in ``url``; what the operator set in it is kept."""
    given = conninfo_to_dict(url)
    options = " ".join(filter(None, (str(given.get("options") or ""), _SESSION)))
    return {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": name, **given, "options": options}


def pool_of(url: str, name: str, *, size: int, autocommit: bool = False) -> Pool:
    """Return a pool that is not open yet. It replaces lost connections by itself.

    With ``autocommit`` each statement is a transaction, in one round trip instead of three.
    """
    kwargs = {**parameters(url, name), **({"autocommit": True} if autocommit else {})}
    return Pool("", kwargs=kwargs, open=False, min_size=1, max_size=size, timeout=10.0, reconnect_timeout=30.0, name=name)
