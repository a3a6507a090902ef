"""What a stored run is a run of: the item that the engine is told, whenever it runs or replays it."""

from __future__ import annotations

from orca_agent.store.journal import RunRecord
from orca_engine.item import Item
from orca_protocol.budget import Ceilings
from orca_protocol.spec import read_spec


def item_of(run: RunRecord) -> Item:
    """Return the item of a stored run. Raises InvalidError for a spec that cannot be read."""
    return Item(run.item_id, read_spec(run.spec, where=f"run {run.id}"), ceilings_kept(run))


def ceilings_kept(run: RunRecord) -> Ceilings | None:
    """Return what the run may use, as it was stored with it; None for a run of an earlier version."""
    return None if run.ceilings is None else Ceilings.model_validate_json(run.ceilings)
