"""Results in their rounds, and the auditors' verdicts on them.

Putting a result into a round and settling that round exclude each other, so no result slips into a round that is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from middle_server.rules.settling import Outcome, Reviewed
from middle_server.store.database import Connection
from orca_protocol.errors import InvalidError

# Holds the round still until this transaction ends.
_HOLD = "SELECT pg_advisory_xact_lock(hashtextextended('round ' || %s || ' ' || %s::text, 0))"

# Puts a result into its round.
_ENTER = "UPDATE middle.results SET round = %s WHERE lease_id = %s"

_RESULT = "lease_id, work_item, worker, cid, reported, round, outcome"

# The result of a lease.
_OF_LEASE = f"SELECT {_RESULT} FROM middle.results WHERE lease_id = %s"  # noqa: S608 - a constant, here and below

# Every result of a round that stands or stood for its item, with the item and how the auditors voted on exactly these bytes.
_IN_ROUND = """
SELECT result.lease_id, result.work_item, result.worker, result.cid, result.reported, result.round, result.outcome,
       item.price, item.status, lease.fencing_token, item.required_checks, item.pays_partial,
       count(verdict.vote) FILTER (WHERE verdict.vote = 'approve') AS approves,
       count(verdict.vote) FILTER (WHERE verdict.vote = 'reject') AS rejects,
       count(verdict.vote) FILTER (WHERE verdict.vote = 'abstain') AS abstains
  FROM middle.results AS result
  JOIN middle.work_items AS item ON item.id = result.work_item
  JOIN middle.leases AS lease ON lease.id = result.lease_id
  LEFT JOIN middle.verdicts AS verdict ON verdict.work_item = result.work_item AND verdict.cid = result.cid
 WHERE result.round = %(round)s AND item.task_id = %(task_id)s
 GROUP BY result.lease_id, item.id, lease.id
 ORDER BY item.place, lease.fencing_token
"""

# Records that a round is over; returns nothing if it was already.
_SETTLE = """
INSERT INTO middle.settled_rounds (task_id, round, settled, distribution, outcomes) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING true
"""

# What became of a round.
_SETTLED = "SELECT settled, distribution, outcomes FROM middle.settled_rounds WHERE task_id = %s AND round = %s"

# What became of a result.
_OUTCOME = "UPDATE middle.results SET outcome = %s WHERE lease_id = %s"

# Whether a worker put this very result into this round, under a lease that still counts.
_MATCH = """
SELECT result.work_item, result.lease_id, lease.fencing_token, result.cid
  FROM middle.results AS result
  JOIN middle.leases AS lease ON lease.id = result.lease_id
  JOIN middle.work_items AS item ON item.id = result.work_item AND item.lease_id = result.lease_id
 WHERE item.task_id = %(task_id)s AND result.worker = %(worker)s AND result.round = %(round)s AND result.cid = %(cid)s
   AND (%(github_username)s::text IS NULL OR lease.github_username = %(github_username)s)
   AND (%(work_item)s::text IS NULL OR item.id = %(work_item)s)
 LIMIT 1
"""

# Stores a verdict; returns nothing if this auditor has spoken of these bytes already.
_SAY = """
INSERT INTO middle.verdicts (auditor, work_item, cid, round, vote, reason, document, received)
VALUES (%(auditor)s, %(work_item)s, %(cid)s, %(round)s, %(vote)s, %(reason)s, %(document)s, %(now)s)
    ON CONFLICT DO NOTHING RETURNING true
"""

# What an auditor said of these bytes.
_SAID = "SELECT document FROM middle.verdicts WHERE auditor = %s AND work_item = %s AND cid = %s"

# Verdicts by item or auditor, newest first.
_VERDICTS = """
SELECT auditor, work_item, cid, round, vote, reason, document, received FROM middle.verdicts
 WHERE (%(work_item)s::text IS NULL OR work_item = %(work_item)s) AND (%(auditor)s::text IS NULL OR auditor = %(auditor)s)
 ORDER BY received DESC, work_item, auditor LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Result:
    """A row of ``results``."""

    lease_id: str
    work_item: str
    worker: str
    cid: str
    reported: datetime
    round: int | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class RoundResult(Result):
    """A result in its round, with its item and the votes on it."""

    price: int
    status: str
    fencing_token: int
    required_checks: list[str]
    pays_partial: bool
    approves: int
    rejects: int
    abstains: int

    @property
    def reviewed(self) -> Reviewed:
        """What the rules look at."""
        return Reviewed(self.work_item, self.worker, int(self.price), self.approves, self.rejects)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a round."""

    settled: datetime
    distribution: dict[str, int]
    outcomes: dict[str, Outcome]


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A row of ``verdicts``."""

    auditor: str
    work_item: str
    cid: str
    round: int
    vote: str
    reason: str
    document: bytes
    received: datetime


async def hold_round(connection: Connection, task_id: str, number: int) -> None:
    """Let nobody else enter or settle the round until this transaction ends."""
    await connection.execute(_HOLD, (task_id, number))


async def enter_round(connection: Connection, lease_id: str, number: int) -> None:
    """Put the result into the round."""
    await connection.execute(_ENTER, (number, lease_id))


async def result_of(connection: Connection, lease_id: str) -> Result | None:
    """Return the result of the lease."""
    async with connection.cursor(row_factory=class_row(Result)) as cursor:
        return await (await cursor.execute(_OF_LEASE.encode(), (lease_id,))).fetchone()


async def results_in(connection: Connection, task_id: str, number: int) -> list[RoundResult]:
    """Return every result of the round."""
    async with connection.cursor(row_factory=class_row(RoundResult)) as cursor:
        return await (await cursor.execute(_IN_ROUND, {"task_id": task_id, "round": number})).fetchall()


async def settled_round(connection: Connection, task_id: str, number: int) -> Settled | None:
    """Return what became of the round; None while it is not over."""
    async with connection.cursor(row_factory=class_row(Settled)) as cursor:
        return await (await cursor.execute(_SETTLED, (task_id, number))).fetchone()


async def settle_round(
    connection: Connection,
    task_id: str,
    number: int,
    distribution: Mapping[str, int],
    outcomes: Mapping[str, Outcome],
    now: datetime,
) -> None:
    """Record that the held round is over."""
    values = (task_id, number, now, Jsonb(dict(distribution)), Jsonb(dict(outcomes)))
    if await (await connection.execute(_SETTLE, values)).fetchone() is None:
        raise RuntimeError(f"round {number} of {task_id} was settled by somebody else while it was held")


async def close_result(connection: Connection, lease_id: str, outcome: Outcome) -> None:
    """Say what became of the result."""
    await connection.execute(_OUTCOME, (outcome, lease_id))


async def match_result(
    connection: Connection,
    *,
    task_id: str,
    worker: str,
    number: int,
    cid: str,
    github_username: str | None,
    work_item: str | None,
) -> dict[str, Any] | None:
    """Return the standing result that is all of this, as names on the wire."""
    values = {
        "task_id": task_id,
        "worker": worker,
        "round": number,
        "cid": cid,
        "github_username": github_username,
        "work_item": work_item,
    }
    row = await (await connection.execute(_MATCH, values)).fetchone()
    return None if row is None else {"id": row[0], "leaseId": row[1], "fencingToken": str(row[2]), "prUrl": row[3]}


async def say_verdict(connection: Connection, verdict: VerdictRow) -> bool:
    """Store the verdict and return whether it is new. Raises InvalidError ``verdict_differs``: an auditor speaks once."""
    values = {name: getattr(verdict, name) for name in ("auditor", "work_item", "cid", "round", "vote", "reason", "document")}
    if await (await connection.execute(_SAY, {**values, "now": verdict.received})).fetchone() is not None:
        return True
    said = await (await connection.execute(_SAID, (verdict.auditor, verdict.work_item, verdict.cid))).fetchone()
    if said is None or bytes(said[0]) != verdict.document:
        raise InvalidError("verdict_differs", "this auditor has published another verdict on this proof; the first one stands")
    return False


async def list_verdicts(connection: Connection, *, work_item: str | None, auditor: str | None, limit: int) -> list[VerdictRow]:
    """Return some verdicts, newest first."""
    values = {"work_item": work_item, "auditor": auditor, "limit": limit}
    async with connection.cursor(row_factory=class_row(VerdictRow)) as cursor:
        return await (await cursor.execute(_VERDICTS, values)).fetchall()
