"""What a node must know of its rounds after a crash: leases taken, verdicts given, submissions made, rounds settled.

One row for each, written before the act it is about where the act can be repeated, so that a restart goes on and nothing is
done twice. The assignment's life:

    claiming → leased → proved → reported → entered       (or closed, with the reason, from anywhere)

Errors: UnavailableError ``records_unavailable``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import psycopg
from psycopg.rows import class_row

from orca_agent.store.database import Connection, pool_of
from orca_protocol.errors import UnavailableError
from orca_protocol.verdict import Vote

State = Literal["claiming", "leased", "proved", "reported", "entered", "closed"]
#: an assignment that the node still works on
OPEN: Final[tuple[State, ...]] = ("claiming", "leased", "proved", "reported")

_ASSIGNMENT = "SELECT claim_id, state, todo, run_id, round, cid, ending FROM assignments"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A row of ``assignments``."""

    claim_id: str
    state: State
    #: the leased work item as JSON, once it was leased
    todo: str | None = None
    run_id: str | None = None
    #: the round the proof is made for, and its CID
    round: int | None = None
    cid: str | None = None
    #: why it is closed
    ending: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A row of ``reviews``: a signed verdict on a peer's proof."""

    round: int
    worker: str
    cid: str
    vote: Vote
    reason: str
    document: bytes
    vsa: bytes | None


class Records:
    """A part of the database at ``url``, for one event loop; leaving the context closes it."""

    #: what the database calls its connections
    name = "orca-records"
    #: whether each statement is a transaction of its own
    autocommit = False

    def __init__(self, url: str) -> None:
        self._pool = pool_of(url, self.name, size=3, autocommit=self.autocommit)

    async def __aenter__(self) -> Self:
        try:
            await self._pool.open(wait=True, timeout=self._pool.timeout)
        except psycopg.Error as error:
            await self._pool.close()
            raise _unavailable(error) from error
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as db:
                yield db
        except psycopg.Error as error:
            raise _unavailable(error) from error


class NodeRecords(Records):
    """What the rounds left."""

    async def begin_claim(self, claim_id: str) -> Assignment:
        """Keep a claim before it is made: after a crash the same claim gets the same lease."""
        async with self._transaction() as db:
            await db.execute("INSERT INTO assignments (claim_id, state) VALUES (%s, 'claiming')", (claim_id,))
        return Assignment(claim_id, "claiming")

    async def forget_claim(self, claim_id: str) -> None:
        """Drop a claim that got no lease."""
        async with self._transaction() as db:
            await db.execute("DELETE FROM assignments WHERE claim_id = %s AND state = 'claiming'", (claim_id,))

    async def move(self, assignment: Assignment, state: State, **fields: Any) -> Assignment:
        """Keep the assignment in its next state with what is known of it since, and return it."""
        sql = """UPDATE assignments SET state = %(state)s, todo = coalesce(%(todo)s, todo), run_id = coalesce(%(run_id)s, run_id),
                        round = coalesce(%(round)s, round), cid = coalesce(%(cid)s, cid), ending = coalesce(%(ending)s, ending),
                        updated = now()
                  WHERE claim_id = %(claim_id)s RETURNING claim_id, state, todo, run_id, round, cid, ending"""
        values = {"todo": None, "run_id": None, "round": None, "cid": None, "ending": None} | fields
        found = await self._assignments(sql, values | {"state": state, "claim_id": assignment.claim_id})
        if not found:
            raise RuntimeError(f"claim {assignment.claim_id} is not kept")
        return found[0]

    async def open_assignments(self) -> list[Assignment]:
        """Return what is still to be worked on, oldest first."""
        return await self._assignments(f"{_ASSIGNMENT} WHERE state = ANY(%(states)s) ORDER BY number", {"states": list(OPEN)})

    async def assignments_of(self, number: int) -> list[Assignment]:
        """Return the proofs that were made for a round and reported, in the order they were taken."""
        sql = f"{_ASSIGNMENT} WHERE round = %(round)s AND state IN ('reported', 'entered') ORDER BY number"
        return await self._assignments(sql, {"round": number})

    async def recent_assignments(self, limit: int = 20) -> list[Assignment]:
        """Return the newest ones."""
        return await self._assignments(f"{_ASSIGNMENT} ORDER BY number DESC LIMIT %(limit)s", {"limit": limit})

    async def keep_review(self, review: Review) -> None:
        """Keep a verdict; the first one on a proof stays, because an auditor speaks once."""
        sql = """INSERT INTO reviews (round, worker, cid, vote, reason, document, vsa) VALUES (%s, %s, %s, %s, %s, %s, %s)
                     ON CONFLICT DO NOTHING"""
        values = (review.round, review.worker, review.cid, review.vote, review.reason, review.document, review.vsa)
        async with self._transaction() as db:
            await db.execute(sql, values)

    async def reviews_of(self, number: int) -> list[Review]:
        """Return the verdicts on the proofs of a round."""
        sql = "SELECT round, worker, cid, vote, reason, document, vsa FROM reviews WHERE round = %s ORDER BY worker, cid"
        async with self._transaction() as db, db.cursor(row_factory=class_row(Review)) as cursor:
            return await (await cursor.execute(sql, (number,))).fetchall()

    async def keep_submission(self, number: int, value: str) -> None:
        """Keep what this node put on chain for a round."""
        await self._keep_round(number, submitted=value)

    async def submission_of(self, number: int) -> str | None:
        """Return what this node put on chain for a round, None where it did not yet."""
        async with self._transaction() as db:
            row = await (await db.execute("SELECT submitted FROM rounds WHERE number = %s", (number,))).fetchone()
        return None if row is None else row[0]

    async def keep_outcomes(self, number: int, outcomes: str) -> None:
        """Keep what became of the proofs of a round, as JSON."""
        await self._keep_round(number, outcomes=outcomes)

    async def has_outcomes(self, number: int) -> bool:
        """Whether it is kept what became of the proofs of a round."""
        sql = "SELECT 1 FROM rounds WHERE number = %s AND outcomes IS NOT NULL"
        async with self._transaction() as db:
            return await (await db.execute(sql, (number,))).fetchone() is not None

    async def keep_settled(self, number: int) -> None:
        """Keep that the middle server has taken over what the chain paid out for a round."""
        await self._keep_round(number, settled=True)

    async def settled_rounds(self) -> set[int]:
        """Return the rounds that are settled."""
        async with self._transaction() as db:
            rows = await (await db.execute("SELECT number FROM rounds WHERE settled")).fetchall()
        return {row[0] for row in rows}

    async def recent_rounds(self, limit: int = 20) -> list[Mapping[str, Any]]:
        """Return what is known of the newest rounds."""
        sql = "SELECT number, submitted, settled, outcomes FROM rounds ORDER BY number DESC LIMIT %s"
        async with self._transaction() as db:
            rows = await (await db.execute(sql, (limit,))).fetchall()
        return [dict(zip(("round", "submitted", "settled", "outcomes"), row, strict=True)) for row in rows]

    async def _keep_round(
        self, number: int, *, submitted: str | None = None, outcomes: str | None = None, settled: bool = False
    ) -> None:
        sql = """INSERT INTO rounds (number, submitted, outcomes, settled) VALUES (%s, %s, %s, %s)
                     ON CONFLICT (number) DO UPDATE SET submitted = coalesce(excluded.submitted, rounds.submitted),
                        outcomes = coalesce(excluded.outcomes, rounds.outcomes), settled = excluded.settled OR rounds.settled,
                        updated = now()"""
        async with self._transaction() as db:
            await db.execute(sql, (number, submitted, outcomes, settled))

    async def _assignments(self, sql: str, values: Mapping[str, Any]) -> list[Assignment]:
        async with self._transaction() as db, db.cursor(row_factory=class_row(Assignment)) as cursor:
            return await (await cursor.execute(sql.encode(), values)).fetchall()


def _unavailable(error: psycopg.Error) -> UnavailableError:
    return UnavailableError("records_unavailable", f"the node's database could not be used: {' '.join(str(error).split())}")
