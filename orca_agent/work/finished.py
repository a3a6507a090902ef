"""A run that has ended, out of the journal: what it said comes out again by replay, with no model."""

from __future__ import annotations

import asyncio

from orca_agent.store.journal import Journal, RunRecord
from orca_agent.work.items import item_of
from orca_agent.work.runner import Finished
from orca_engine.replay import replay
from orca_protocol.errors import InvalidError


async def read_finished(run: RunRecord, journal: Journal) -> Finished:
    """Return the run with its entries and output. Raises InvalidError ``run_unended``, or what replay does."""
    if run.finished is None:
        raise InvalidError("run_unended", f"run {run.id} has not ended; follow its events")
    entries = await journal.entries(run.id)
    item = await asyncio.to_thread(item_of, run)
    output = await asyncio.to_thread(replay, item, entries)
    return Finished(run, item, entries, output, run.finished)
