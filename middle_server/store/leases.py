"""Leases: claimed in one statement, kept alive, given back, run out; and the result that comes of one.

All functions here run inside the caller's transaction. Locks are taken in one order: first the key that claims, then the item.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from middle_server.rules.leases import Ending, Holding
from middle_server.store.database import Connection
from middle_server.store.items import WorkItem, late_items, move_item
from orca_protocol.errors import InvalidError

# One claim of a key at a time, so that counting its leases and taking another is one step; other keys do not wait.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('claim ' || %s, 0))"

# How many leases a key holds.
_HELD = "SELECT count(*) FROM middle.leases WHERE worker = %s AND ending IS NULL"

# The claim, in one statement: the oldest queued item whose moment has come, that this key has not failed and nobody else is
# just taking becomes leased, under a token higher than any before.
_CLAIM = """
WITH oldest AS (
    SELECT id FROM middle.work_items AS item
     WHERE status = 'queued' AND task_id = %(task_id)s AND (not_before IS NULL OR not_before <= %(issued)s)
       AND NOT EXISTS (SELECT FROM middle.failures WHERE work_item = item.id AND worker = %(worker)s)
     ORDER BY place
     LIMIT 1
       FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE middle.work_items AS item
       SET status = 'leased', attempts = attempts + 1, fencing_token = fencing_token + 1,
           lease_id = %(id)s, deadline = %(deadline)s, updated = %(issued)s
      FROM oldest WHERE item.id = oldest.id
    RETURNING item.id, item.fencing_token
)
INSERT INTO middle.leases (id, work_item, worker, payout, claim_id, github_username, fencing_token, issued, expires)
SELECT %(id)s, id, %(worker)s, %(payout)s, %(claim_id)s, %(github_username)s, fencing_token, %(issued)s, %(expires)s FROM taken
RETURNING work_item, fencing_token
"""

# Keeps the signed document beside the lease, so that the same claim gets the same bytes for ever.
_SIGN = "UPDATE middle.leases SET document = %s WHERE id = %s"

_FIELDS = "id, work_item, worker, payout, claim_id, github_username, fencing_token, issued, expires, document, ending"

# The lease that a claim got.
_OF_CLAIM = f"SELECT {_FIELDS} FROM middle.leases WHERE worker = %s AND claim_id = %s"  # noqa: S608 - a constant, here and below

# The lease of that id.
_OF_ID = f"SELECT {_FIELDS} FROM middle.leases WHERE id = %s"  # noqa: S608

# The newest lease of a key on an item: what a node means that names no lease.
_NEWEST = f"""
SELECT {_FIELDS} FROM middle.leases WHERE worker = %s AND work_item = %s ORDER BY fencing_token DESC LIMIT 1
"""  # noqa: S608

# The lease that a key holds: what an original node means that fetches again.
_HELD_BY = f"SELECT {_FIELDS} FROM middle.leases WHERE worker = %s AND ending IS NULL ORDER BY issued LIMIT 1"  # noqa: S608

# Ends a lease; the first ending counts.
_END = "UPDATE middle.leases SET ending = %s WHERE id = %s AND ending IS NULL"

# Waits longer for the holder of a locked item.
_EXTEND = "UPDATE middle.work_items SET deadline = %s, updated = %s WHERE id = %s"

# Remembers who failed what; the first reason stays.
_FAIL = """
INSERT INTO middle.failures (work_item, worker, reason, detail, at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (work_item, worker) DO NOTHING
"""

# Adds what a node says of its own failure.
_EXPLAIN = "UPDATE middle.failures SET detail = %s WHERE work_item = %s AND worker = %s RETURNING true"

# Stores the one result of a lease.
_STORE = "INSERT INTO middle.results (lease_id, work_item, worker, cid, reported) VALUES (%s, %s, %s, %s, %s)"

# Says what became of a result whose item was taken back.
_CLOSE = "UPDATE middle.results SET outcome = %s WHERE lease_id = %s"


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A row of ``leases``."""

    id: str
    work_item: str
    worker: str
    payout: str
    claim_id: str
    github_username: str | None
    fencing_token: int
    issued: datetime
    expires: datetime
    document: bytes | None
    ending: Ending | None

    def beside(self, item: WorkItem) -> Holding:
        """Return what the rules look at."""
        return Holding(
            lease_id=self.id,
            worker=self.worker,
            fencing_token=self.fencing_token,
            expires=self.expires,
            ending=self.ending,
            current_token=item.fencing_token,
            deadline=item.deadline,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """Who claims, and what the lease is to say."""

    lease_id: str
    task_id: str
    worker: str
    payout: str
    claim_id: str
    github_username: str | None
    issued: datetime
    expires: datetime
    deadline: datetime


async def begin_claim(connection: Connection, worker: str) -> None:
    """Let no other claim of this key happen until this transaction ends."""
    await connection.execute(_ONE_AT_A_TIME, (worker,))


async def count_held(connection: Connection, worker: str) -> int:
    """Return how many leases the key holds."""
    row = await (await connection.execute(_HELD, (worker,))).fetchone()
    return 0 if row is None else int(row[0])


async def claim(connection: Connection, wanted: Claim) -> LeaseRow | None:
    """Lease the oldest item there is for this key; None if there is none."""
    values = {name: getattr(wanted, name) for name in wanted.__dataclass_fields__} | {"id": wanted.lease_id}
    row = await (await connection.execute(_CLAIM, values)).fetchone()
    if row is None:
        return None
    return LeaseRow(
        id=wanted.lease_id,
        work_item=row[0],
        worker=wanted.worker,
        payout=wanted.payout,
        claim_id=wanted.claim_id,
        github_username=wanted.github_username,
        fencing_token=row[1],
        issued=wanted.issued,
        expires=wanted.expires,
        document=None,
        ending=None,
    )


async def keep_document(connection: Connection, lease_id: str, document: bytes) -> None:
    """Keep the signed lease."""
    await connection.execute(_SIGN, (document, lease_id))


async def lease_of_claim(connection: Connection, worker: str, claim_id: str) -> LeaseRow | None:
    """Return the lease that this claim got before."""
    return await _lease(connection, _OF_CLAIM, worker, claim_id)


async def lease_of_id(connection: Connection, lease_id: str) -> LeaseRow | None:
    """Return the lease of that id."""
    return await _lease(connection, _OF_ID, lease_id)


async def newest_lease(connection: Connection, worker: str, item_id: str) -> LeaseRow | None:
    """Return the newest lease of the key on the item."""
    return await _lease(connection, _NEWEST, worker, item_id)


async def held_lease(connection: Connection, worker: str) -> LeaseRow | None:
    """Return the oldest lease that the key holds."""
    return await _lease(connection, _HELD_BY, worker)


async def extend(connection: Connection, item: WorkItem, deadline: datetime, now: datetime) -> None:
    """Wait until ``deadline`` for the holder of the locked item."""
    await connection.execute(_EXTEND, (deadline, now, item.id))


async def report(
    connection: Connection, item: WorkItem, lease: LeaseRow, cid: str, *, attempts_at_most: int, now: datetime, deadline: datetime
) -> None:
    """Store the result of the lease; the locked item is reported. Raises InvalidError ``transition_illegal``."""
    await move_item(connection, item, "report", attempts_at_most=attempts_at_most, now=now, deadline=deadline)
    await connection.execute(_END, ("reported", lease.id))
    await connection.execute(_STORE, (lease.id, item.id, lease.worker, cid, now))


async def give_back(
    connection: Connection, item: WorkItem, lease: LeaseRow, detail: str | None, *, attempts_at_most: int, now: datetime
) -> None:
    """End the lease; the locked item is for others. Raises InvalidError ``transition_illegal``."""
    await move_item(connection, item, "give_back", attempts_at_most=attempts_at_most, now=now)
    await connection.execute(_END, ("given_back", lease.id))
    await connection.execute(_FAIL, (item.id, lease.worker, "given_back", detail, now))


async def cancel(connection: Connection, item: WorkItem, *, attempts_at_most: int, now: datetime) -> None:
    """Cancel the locked item and end its lease. Raises InvalidError ``transition_illegal``."""
    await move_item(connection, item, "cancel", attempts_at_most=attempts_at_most, now=now)
    if item.lease_id is not None:
        await connection.execute(_END, ("cancelled", item.lease_id))


async def explain_failure(connection: Connection, item_id: str, worker: str, detail: str) -> bool:
    """Keep what the key says of its failure of the item; whether it failed it at all."""
    return await (await connection.execute(_EXPLAIN, (detail, item_id, worker))).fetchone() is not None


async def take_back_late(connection: Connection, *, attempts_at_most: int, now: datetime) -> int:
    """Take items back whose holders were silent or late, and return how many."""
    items = await late_items(connection, now)
    for item in items:
        lease = None if item.lease_id is None else await lease_of_id(connection, item.lease_id)
        if lease is None:
            raise RuntimeError(f"work item {item.id} waits for nobody")
        await move_item(connection, item, "expire", attempts_at_most=attempts_at_most, now=now)
        await connection.execute(_END, ("expired", lease.id))
        await connection.execute(_CLOSE, ("expire", lease.id))
        detail = "silent for too long" if lease.ending is None else "the result never reached a round"
        await connection.execute(_FAIL, (item.id, lease.worker, "expired", detail, now))
    return len(items)


async def reject(connection: Connection, item: WorkItem, worker: str, detail: str, *, attempts_at_most: int, now: datetime) -> None:
    """Take the locked item back from a result that the round cut. Raises InvalidError ``transition_illegal``."""
    await move_item(connection, item, "reject", attempts_at_most=attempts_at_most, now=now)
    await connection.execute(_FAIL, (item.id, worker, "rejected", detail, now))


async def _lease(connection: Connection, statement: str, *values: str) -> LeaseRow | None:
    async with connection.cursor(row_factory=class_row(LeaseRow)) as cursor:
        return await (await cursor.execute(statement.encode(), values)).fetchone()


def require(lease: LeaseRow | None) -> LeaseRow:
    """Raise InvalidError ``lease_unknown`` if there is none."""
    if lease is None:
        raise InvalidError("lease_unknown", "there is no such lease; fetch work first")
    return lease
