"""What the runs of a key may use of a day, and used: one row for each run, in the transaction that stores or ends the run.

What is left of a day is nowhere kept: it is what the rows leave of the key's terms, added up while the key's row is locked. So
a crash leaves nothing behind, and two ends of runs never wait for each other. Who decides is ``orca_agent.work.ceilings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_DOWN, Decimal

from orca_agent.store.database import Connection
from orca_protocol.budget import Budget, Ceilings
from orca_protocol.journal import Entry

_AXES = "calls, input_tokens, output_tokens, cost"
_TERMS = """
SELECT name, concurrent, calls_per_day, input_tokens_per_day, output_tokens_per_day, cost_per_day
  FROM api_keys WHERE id = %s FOR NO KEY UPDATE
"""
_WAITS = "coalesce(scheduled > now() AND cancel_requested IS NULL, false)"
_UNFINISHED = f"""
SELECT count(*) FILTER (WHERE NOT {_WAITS}), count(*) FILTER (WHERE {_WAITS}) FROM queue WHERE owner = %s AND due IS NOT NULL
"""  # noqa: S608 - constants only
_TAKEN = """
SELECT is_settled, sum(calls)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost)
  FROM reservations WHERE key_id = %s AND day = %s GROUP BY is_settled
"""
_RESERVE = f"INSERT INTO reservations (run_id, key_id, day, {_AXES}) VALUES (%s, %s, %s, %s, %s, %s, %s)"  # noqa: S608 - constants only
_RESERVED = """
SELECT ceilings FROM reservations JOIN runs ON id = run_id WHERE run_id = %s AND NOT is_settled FOR UPDATE OF reservations
"""
_SETTLE = """
UPDATE reservations SET calls = %s, input_tokens = %s, output_tokens = %s, cost = %s, is_settled = true WHERE run_id = %s
"""
_ASKED = "SELECT asked, entry FROM entries WHERE run_id = %s AND asked > 0"
_FINEST = Decimal(1).scaleb(-12)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What can be counted of runs; None: not bounded, or not known."""

    calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None

    @classmethod
    def of(cls, budget: Budget | Ceilings) -> Amounts:
        """Return what is bounded, apart from time."""
        cost = None if budget.cost is None else Decimal(budget.cost)
        return cls(budget.calls, budget.input_tokens, budget.output_tokens, cost)

    def budget(self) -> Budget:
        """Return the budget that bounds so much; money to the twelve places that a budget has, rounded down."""
        cost = None if self.cost is None else f"{Decimal(self.cost).quantize(_FINEST, ROUND_DOWN).normalize():f}"
        return Budget(calls=self.calls, input_tokens=self.input_tokens, output_tokens=self.output_tokens, cost=cost)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a key allows its runs together."""

    name: str
    concurrent: int
    daily: Amounts


@dataclass(frozen=True, slots=True)
class Taken:
    """What is gone of a day: used by runs that ended, and reserved by those that go on."""

    spent: Amounts
    reserved: Amounts


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked at one path, how often, and its entry; None where the answer was lost."""

    times: int
    entry: Entry | None


async def locked_terms(db: Connection, key_id: str) -> Terms:
    """Return what a key allows. Until this transaction ends nobody else stores a run of the key."""
    row = await (await db.execute(_TERMS, (key_id,))).fetchone()
    if row is None:
        raise RuntimeError(f"there is no key {key_id}; keys are never deleted")
    return Terms(row[0], row[1], Amounts(*row[2:]))


async def unfinished_of(db: Connection, key_id: str) -> tuple[int, int]:
    """Return how many runs of a key have not ended: those that have begun or could, and those whose moment has not come."""
    row = await (await db.execute(_UNFINISHED, (key_id,))).fetchone()
    if row is None:
        raise RuntimeError("a count has a row")
    return int(row[0]), int(row[1])


async def taken_of(db: Connection, key_id: str, day: date) -> Taken:
    """Return what is gone of a key's day."""
    rows = {row[0]: Amounts(*row[1:]) for row in await (await db.execute(_TAKEN, (key_id, day))).fetchall()}
    return Taken(rows.get(True, Amounts()), rows.get(False, Amounts()))


async def reserve(db: Connection, run_id: str, key_id: str, day: date, granted: Amounts) -> None:
    """Keep what a run may use at most."""
    values = (run_id, key_id, day, granted.calls, granted.input_tokens, granted.output_tokens, granted.cost)
    await db.execute(_RESERVE, values)


async def ceilings_of_unsettled(db: Connection, run_id: str) -> Ceilings | None:
    """Return the ceilings of a run that is not settled; None where it is, or nobody's key pays for it."""
    row = await (await db.execute(_RESERVED, (run_id,))).fetchone()
    return None if row is None else Ceilings.model_validate_json(row[0])


async def asked_of(db: Connection, run_id: str) -> list[Asked]:
    """Return what a run asked, by its journal."""
    rows = await (await db.execute(_ASKED, (run_id,))).fetchall()
    return [Asked(times, None if entry is None else Entry.model_validate_json(entry)) for times, entry in rows]


async def settle(db: Connection, run_id: str, spent: Amounts) -> None:
    """Keep what a run used, instead of what it might have."""
    await db.execute(_SETTLE, (spent.calls, spent.input_tokens, spent.output_tokens, spent.cost, run_id))
