"""Runs that are ordered, for an API key or for nobody's: within their limits when they are stored, settled when they have ended.

Both happen in the transaction of the queue that makes it so. Whoever stores a run for a key holds the key's row, so the limits
hold however many processes store at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orca_agent.store.database import Connection
from orca_agent.store.journal import RunRecord
from orca_agent.store.ledger import (
    Amounts,
    asked_of,
    ceilings_of_unsettled,
    locked_terms,
    reserve,
    settle,
    taken_of,
    unfinished_of,
)
from orca_agent.work.ceilings import day_of, grant, refuse_beyond, spent_by
from orca_engine.bounds import ceilings_of
from orca_protocol.budget import Budget, Ceilings, Price
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.spec import SwarmSpec
from orca_time.schedule import Due

_RUN = "INSERT INTO runs (id, item_id, spec, epoch, started, deadline, ceilings) VALUES (%s, %s, %s, 0, %s, %s, %s)"
# Whoever sweeps announces what is due: what was announced already and nobody took, or what had to wait for its moment.
_QUEUE = """
INSERT INTO queue (run_id, idempotency_key, request_digest, owner, scheduled, time_zone, due)
VALUES (%s, %s, %s, %s, %s, %s, coalesce(%s, now() + make_interval(secs => %s)))
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING run_id
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, within which budgets beside its own, and for whose API key; None: the operator's or the network's."""

    spec: SwarmSpec
    budgets: Sequence[Budget] = ()
    #: by the spec's model names, where they are known
    prices: Mapping[str, Price] = field(default_factory=dict)
    owner: str | None = None
    #: what kept the prices from being asked for
    why_no_prices: OrcaError | None = None

    def ceilings(self, *more: Budget) -> Ceilings:
        """Return what a run may use; raises as the engine's ``ceilings_of`` does, or why a price that is needed is not known."""
        try:
            return ceilings_of(self.spec, (*self.budgets, *more), self.prices)
        except InvalidError as error:
            if error.code == "price_unknown" and self.why_no_prices is not None:
                raise self.why_no_prices from error
            raise


async def place(
    db: Connection, run: RunRecord, order: Order, *, key: str, digest: str, again: float, due: Due | None = None
) -> bool:
    """Store a run within its limits; False if its idempotency key was stored meanwhile.

    It is announced when it is ``due``, or else again after ``again`` seconds, in case nobody heard.
    Raises as ``refuse_beyond``, ``grant`` and the engine's ``ceilings_of`` do.
    """
    ceilings = await _granted(db, order, run.started, is_scheduled=due is not None)
    stored = (run.id, run.item_id, run.spec, run.started, run.deadline, ceilings.model_dump_json(exclude_none=True))
    await db.execute(_RUN, stored)
    if order.owner is not None:
        await reserve(db, run.id, order.owner, day_of(run.started), Amounts.of(ceilings))
    at, zone = (None, None) if due is None else (due.at, due.zone)
    values = (run.id, key, digest, order.owner, at, zone, at, again)
    return await (await db.execute(_QUEUE, values)).fetchone() is not None


async def settle_run(db: Connection, run_id: str) -> None:
    """Keep what a run that has ended used, where it had reserved something and is not settled yet."""
    ceilings = await ceilings_of_unsettled(db, run_id)
    if ceilings is not None:
        await settle(db, run_id, spent_by(await asked_of(db, run_id), ceilings))


async def _granted(db: Connection, order: Order, at: float, *, is_scheduled: bool) -> Ceilings:
    if order.owner is None:
        return order.ceilings()
    terms = await locked_terms(db, order.owner)
    unfinished, scheduled = await unfinished_of(db, order.owner)
    refuse_beyond(terms, unfinished, scheduled, is_scheduled=is_scheduled)
    return grant(terms, await taken_of(db, order.owner, day_of(at)), order.ceilings, at)
