"""Work items: created, read, counted, moved from status to status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from middle_server.rules.states import Event, Status, after
from middle_server.store.database import Connection
from orca_protocol.errors import InvalidError
from orca_protocol.lease import CheckName
from orca_protocol.spec import ScheduleSpec
from orca_time.schedule import Due

_FIELDS = """id, place, requester, task_id, spec_sha256, price, models, required_checks, pays_partial, status, attempts,
             fencing_token, lease_id, deadline, not_before, time_zone, created, updated"""

# Puts a new item at the end of the queue.
_CREATE = f"""
INSERT INTO middle.work_items (id, requester, task_id, spec, spec_sha256, price, models, required_checks, pays_partial,
                               not_before, time_zone, status, created, updated)
VALUES (%(id)s, %(requester)s, %(task_id)s, %(spec)s, %(spec_sha256)s, %(price)s, %(models)s, %(required_checks)s, %(pays_partial)s,
        %(not_before)s, %(time_zone)s, 'queued', %(now)s, %(now)s)
RETURNING {_FIELDS}
"""  # noqa: S608 - the fields are the constant above, here and below

# One item, unlocked: what it was a moment ago.
_READ = f"SELECT {_FIELDS} FROM middle.work_items WHERE id = %s"  # noqa: S608

# One item, and nobody else changes it until this transaction ends.
_LOCK = _READ + " FOR UPDATE"

# One requester's items after a place, oldest first.
_LIST = f"""
SELECT {_FIELDS} FROM middle.work_items
 WHERE requester = %(requester)s AND place > %(after)s
   AND (%(status)s::text IS NULL
        OR %(status)s = CASE WHEN status = 'queued' AND not_before > %(now)s THEN 'scheduled' ELSE status END)
 ORDER BY place LIMIT %(limit)s
"""  # noqa: S608

# The unfinished items of a requester, counted no further than needed.
_COUNT = """
SELECT count(*) FROM (
    SELECT FROM middle.work_items
     WHERE requester = %(requester)s AND status IN ('queued', 'leased', 'reported', 'in_review') LIMIT %(limit)s
) AS found
"""

# Moves a locked item.
_MOVE = """
UPDATE middle.work_items SET status = %(status)s, lease_id = %(lease_id)s, deadline = %(deadline)s, updated = %(now)s
 WHERE id = %(id)s
"""

# The bytes of an item's spec.
_SPEC = "SELECT spec FROM middle.work_items WHERE id = %s"

# Items whose holder is silent or late, a hundred at a time; those that somebody else works on are left to them.
_LATE = f"""
SELECT {_FIELDS} FROM middle.work_items WHERE deadline <= %s ORDER BY deadline LIMIT 100 FOR UPDATE SKIP LOCKED
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A row of ``work_items``, without the spec's bytes."""

    id: str
    place: int
    requester: str
    task_id: str
    spec_sha256: str
    price: int
    models: list[dict[str, Any]]
    required_checks: list[CheckName]
    pays_partial: bool
    status: Status
    attempts: int
    fencing_token: int
    lease_id: str | None
    deadline: datetime | None
    #: nobody is given it before; set together with the zone in which its requester said so
    not_before: datetime | None
    time_zone: str | None
    created: datetime
    updated: datetime

    def __post_init__(self) -> None:
        """Make an integer of PostgreSQL's numeric."""
        object.__setattr__(self, "price", int(self.price))

    @property
    def due(self) -> Due | None:
        """When it may be given out, or None: at once."""
        return None if self.not_before is None or self.time_zone is None else Due(self.not_before.astimezone(UTC), self.time_zone)


@dataclass(frozen=True, slots=True)
class NewItem:
    """What a requester asks for, checked."""

    id: str
    requester: str
    task_id: str
    spec: bytes = field(repr=False)
    spec_sha256: str
    price: int
    models: Sequence[dict[str, Any]]
    required_checks: Sequence[str]
    pays_partial: bool
    schedule: ScheduleSpec | None


async def create_item(connection: Connection, item: NewItem, due: Due | None, now: datetime) -> WorkItem:
    """Queue a new item, which nobody is given before it is ``due``."""
    values = {
        "id": item.id,
        "requester": item.requester,
        "task_id": item.task_id,
        "spec": item.spec,
        "spec_sha256": item.spec_sha256,
        "price": item.price,
        "models": Jsonb(list(item.models)),
        "required_checks": list(item.required_checks),
        "pays_partial": item.pays_partial,
        "not_before": None if due is None else due.at,
        "time_zone": None if due is None else due.zone,
        "now": now,
    }
    return await _one(connection, _CREATE, values, item.id)


async def read_item(connection: Connection, item_id: str, *, lock: bool = False) -> WorkItem:
    """Return the item, locked if asked. Raises InvalidError ``work_item_unknown``."""
    return await _one(connection, _LOCK if lock else _READ, (item_id,), item_id)


async def spec_of(connection: Connection, item_id: str) -> bytes:
    """Return the exact bytes of the item's spec."""
    row = await (await connection.execute(_SPEC, (item_id,))).fetchone()
    if row is None:
        raise RuntimeError(f"work item {item_id} has gone")
    return bytes(row[0])


async def list_items(
    connection: Connection, requester: str, *, status: str | None, after_place: int, limit: int, now: datetime
) -> list[WorkItem]:
    """Return some of the requester's items, oldest first; ``status`` is one of ``SHOWN``."""
    values = {"requester": requester, "after": after_place, "status": status, "limit": limit, "now": now}
    async with connection.cursor(row_factory=class_row(WorkItem)) as cursor:
        return await (await cursor.execute(_LIST, values)).fetchall()


async def count_unfinished(connection: Connection, requester: str, *, limit: int) -> int:
    """Return how many items of the requester are not finished, or ``limit`` if there are more."""
    row = await (await connection.execute(_COUNT, {"requester": requester, "limit": limit})).fetchone()
    return 0 if row is None else int(row[0])


async def late_items(connection: Connection, now: datetime) -> list[WorkItem]:
    """Return some items whose deadline has passed, locked."""
    async with connection.cursor(row_factory=class_row(WorkItem)) as cursor:
        return await (await cursor.execute(_LATE, (now,))).fetchall()


async def move_item(
    connection: Connection, item: WorkItem, event: Event, *, attempts_at_most: int, now: datetime, deadline: datetime | None = None
) -> Status:
    """Let ``event`` happen to the locked ``item`` and return its new status. Raises InvalidError ``transition_illegal``."""
    status = after(item.status, event, attempts=item.attempts, attempts_at_most=attempts_at_most)
    lease_id = None if status in {"queued", "failed", "cancelled"} else item.lease_id
    values = {"id": item.id, "status": status, "lease_id": lease_id, "deadline": deadline, "now": now}
    await connection.execute(_MOVE, values)
    return status


async def _one(connection: Connection, statement: str, values: Any, item_id: str) -> WorkItem:
    async with connection.cursor(row_factory=class_row(WorkItem)) as cursor:
        found = await (await cursor.execute(statement.encode(), values)).fetchone()
    if found is None:
        raise InvalidError("work_item_unknown", f"there is no work item {item_id[:80]!r}")
    return found
