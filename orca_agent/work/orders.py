"""Runs that are stored for an API key: within its limits when they are stored, settled when they have ended.

Both happen in the transaction of the queue that makes it so. Whoever stores a run for a key holds the key's row, so the limits
hold however many processes store at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from orca_agent.store.database import Connection
from orca_agent.store.journal import RunRecord
from orca_agent.store.ledger import Amounts, asked_of, locked_terms, reserve, reserved_of, settle, taken_of, unfinished_of
from orca_agent.work.ceilings import day_of, grant, refuse_beyond, spent_by
from orca_protocol.budget import Budget


@dataclass(frozen=True, slots=True)
class Order:
    """For which API key a run is stored, and what it uses at most."""

    owner: str
    wanted: Budget


async def place_order(db: Connection, order: Order, run: RunRecord) -> None:
    """Reserve for a run that is being stored what its key allows it; raises as ``refuse_beyond`` and ``grant`` do."""
    terms = await locked_terms(db, order.owner)
    refuse_beyond(terms, await unfinished_of(db, order.owner))
    day = day_of(run.started)
    granted = grant(terms, await taken_of(db, order.owner, day), Amounts.of(order.wanted), run.started)
    await reserve(db, run.id, order.owner, day, granted)


async def settle_order(db: Connection, run_id: str) -> None:
    """Keep what a run that has ended used, where it had reserved something and is not settled yet."""
    reserved = await reserved_of(db, run_id)
    if reserved is not None:
        await settle(db, run_id, spent_by(await asked_of(db, run_id), reserved))
