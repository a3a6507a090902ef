"""What became of this node's own proofs, told to whoever follows the runs that they prove: one ``verdict`` event for each."""

from __future__ import annotations

from typing import Any

from koii_chain.distribution import Distribution
from orca_agent.rounds.paying import Reading
from orca_agent.store.events import EventLog
from orca_agent.store.records import NodeRecords


class Telling:
    """Tells verdicts. The same one is told once, however often a round is computed."""

    def __init__(self, key: str, records: NodeRecords, events: EventLog) -> None:
        self._key = key
        self._records = records
        self._events = events

    async def tell(self, number: int, distribution: Distribution, reading: Reading) -> None:
        """Tell each run whose proof was made for a round what its peers said. Raises UnavailableError."""
        found = verdicts_on(self._key, number, distribution, reading)
        for assignment in await self._records.assignments_of(number):
            if assignment.run_id is not None and assignment.cid in found:
                await self._events.add_verdict(assignment.run_id, found[assignment.cid])


def verdicts_on(key: str, number: int, distribution: Distribution, reading: Reading) -> dict[str | None, dict[str, Any]]:
    """Return for each of ``key``'s proofs of a round what became of it and who said what of it, or why it counts for nothing."""
    found: dict[str | None, dict[str, Any]] = {}
    for (worker, cid), outcome in distribution.outcomes.items():
        if worker == key:
            said = {opinion.auditor: opinion.vote for opinion in reading.opinions if (opinion.worker, opinion.cid) == (key, cid)}
            votes = [{"auditor": auditor, "vote": said[auditor]} for auditor in sorted(said)]
            found[cid] = {"round": number, "cid": cid, "outcome": outcome, "votes": votes}
    for (worker, cid), reason in reading.refused.items():
        if worker == key:
            found[cid] = {"round": number, "cid": cid, "outcome": "refused", "votes": [], "reason": reason}
    return found
