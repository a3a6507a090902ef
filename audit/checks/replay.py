"""Check 4: this engine, run again over the journal without any model, asks the same and says the same.

1. the engine revision is the one that this node ships      (else ``engine_revision``: not measured)
2. every request, its order and its bytes                   (edited prompts, dropped or invented calls)
3. ``output.json`` byte for byte                            (an answer edited after the run)
4. the totals and ceilings in the statement                 (a bill for more than was done, a run that was ended early)

It does not show that the entries are true: a worker can run the real engine on invented answers.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from audit.case import Case
from audit.deadline import Deadline
from audit.finding import Finding
from orca_engine import REVISION
from orca_engine.bounds import ceilings_of
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.budget import Ceilings
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.spec import SwarmSpec


async def check_replay(case: Case) -> Finding:
    """Replay the journal. Raises InvalidError at the first difference."""
    contents = case.require_contents()
    predicate = contents.statement.predicate
    if predicate.engine_revision != REVISION:  # 1
        raise UnavailableError("engine_revision", f"made by engine revision {predicate.engine_revision}; this node has {REVISION}")
    deadline = Deadline(case.limits.seconds)
    _check_ceilings(contents.spec, predicate.ceilings, is_leased=predicate.lease_sha256 is not None)  # 4
    item = Item(predicate.work_item, contents.spec, predicate.ceilings)
    output = await asyncio.to_thread(replay, item, contents.entries, deadline.check)  # 2
    if write(output) != contents.received.files["output.json"]:  # 3
        raise InvalidError("output_differs", "the journal leads to another output than output.json says")
    if predicate.usage != output.usage:  # 4
        raise InvalidError("usage_differs", "the statement's totals are not the sums of the journal")
    return Finding(
        f"{len(contents.entries)} entries, same requests, same output", bytes=len(contents.received.files["journal.jsonl"])
    )


def _check_ceilings(spec: SwarmSpec, claimed: Ceilings, *, is_leased: bool) -> None:
    """A run that nobody leased may have had less than its spec allows: its node's or its owner's budget. A leased one may not."""
    allowed = ceilings_of(spec, prices=claimed.prices)
    if is_leased and claimed.model_copy(update={"seconds": allowed.seconds}) != allowed:
        raise InvalidError("ceilings_differ", f"the spec allows {_told(allowed)}; the statement says {_told(claimed)}")
    for field in ("calls", "output_tokens", "input_tokens", "cost"):
        most, least = getattr(allowed, field), getattr(claimed, field)
        if most is not None and (least is None or Decimal(least) > Decimal(most)):
            raise InvalidError("ceilings_differ", f"the spec allows {_told(allowed)}; the statement says {_told(claimed)}")


def _told(ceilings: Ceilings) -> str:
    amounts = ceilings.model_dump(exclude_none=True, exclude={"prices", "seconds"})
    return ", ".join(f"{field.replace('_', ' ')} {amount}" for field, amount in amounts.items())
