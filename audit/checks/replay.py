"""Check 4: this engine, run again over the journal without any model, asks the same and says the same.

1. the engine revision is the one that this node ships      (else ``engine_revision``: not measured)
2. every request, its order and its bytes                   (edited prompts, dropped or invented calls)
3. ``output.json`` byte for byte                            (an answer edited after the run)
4. the totals and ceilings in the statement                 (a bill for more than was done)

It does not show that the entries are true: a worker can run the real engine on invented answers.
"""

from __future__ import annotations

import asyncio

from audit.case import Case
from audit.deadline import Deadline
from audit.finding import Finding
from orca_engine import REVISION
from orca_engine.item import Item
from orca_engine.program import calls_at_most, output_tokens_at_most
from orca_engine.replay import replay
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError, UnavailableError


async def check_replay(case: Case) -> Finding:
    """Replay the journal. Raises InvalidError at the first difference."""
    contents = case.require_contents()
    predicate = contents.statement.predicate
    if predicate.engine_revision != REVISION:  # 1
        raise UnavailableError("engine_revision", f"made by engine revision {predicate.engine_revision}; this node has {REVISION}")
    deadline = Deadline(case.limits.seconds)
    item = Item(predicate.work_item, contents.spec)
    output = await asyncio.to_thread(replay, item, contents.entries, deadline.check)  # 2
    if write(output) != contents.received.files["output.json"]:  # 3
        raise InvalidError("output_differs", "the journal leads to another output than output.json says")
    if predicate.usage != output.usage:  # 4
        raise InvalidError("usage_differs", "the statement's totals are not the sums of the journal")
    ceilings = (calls_at_most(contents.spec), output_tokens_at_most(contents.spec))
    if (predicate.ceilings.calls, predicate.ceilings.output_tokens) != ceilings:
        raise InvalidError(
            "ceilings_differ", f"the spec allows at most {ceilings[0]} calls and {ceilings[1]} tokens; the statement says otherwise"
        )
    return Finding(
        f"{len(contents.entries)} entries, same requests, same output", bytes=len(contents.received.files["journal.jsonl"])
    )
