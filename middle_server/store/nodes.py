"""The nodes that were heard, and where their proofs can be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from middle_server.store.database import Connection

# Notes that a node was heard; what it left out stays as it was.
_HEARD = """
INSERT INTO middle.nodes AS node (task_id, staking_key, github_username, gateway, first_seen, last_seen)
VALUES (%(task_id)s, %(key)s, %(github_username)s, %(gateway)s, %(now)s, %(now)s)
    ON CONFLICT (task_id, staking_key) DO UPDATE
   SET github_username = coalesce(excluded.github_username, node.github_username),
       gateway = coalesce(excluded.gateway, node.gateway),
       last_seen = greatest(excluded.last_seen, node.last_seen)
"""

# The nodes of a task, those heard last first, with the leases they hold.
_LIST = """
SELECT node.task_id, node.staking_key, node.github_username, node.gateway, node.first_seen, node.last_seen,
       (SELECT count(*) FROM middle.leases WHERE worker = node.staking_key AND ending IS NULL) AS leases
  FROM middle.nodes AS node WHERE node.task_id = %s ORDER BY node.last_seen DESC, node.staking_key LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A row of ``nodes``. ``github_username`` is what the node says of itself; nobody proved it."""

    task_id: str
    staking_key: str
    github_username: str | None
    gateway: str | None
    first_seen: datetime
    last_seen: datetime
    leases: int


async def heard(
    connection: Connection, *, task_id: str, key: str, github_username: str | None, gateway: str | None, now: datetime
) -> None:
    """Note that a node was heard."""
    values = {"task_id": task_id, "key": key, "github_username": github_username, "gateway": gateway, "now": now}
    await connection.execute(_HEARD, values)


async def list_nodes(connection: Connection, task_id: str, *, limit: int) -> list[Node]:
    """Return the nodes of a task that were heard last."""
    async with connection.cursor(row_factory=class_row(Node)) as cursor:
        return await (await cursor.execute(_LIST, (task_id, limit))).fetchall()
