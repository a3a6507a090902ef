"""What a round's distribution list says of each item in it.

The list names keys and amounts, not items. Where a key had one item in the round the sign decides; where it had several,
the sum of their prices does, or else the auditors' verdicts, item by item. Zero is no reward and no fault. A key that the
list does not name was not measured, unless a quorum of auditors rejected its item: the chain cuts nobody in a round in
which it pays nobody, and the requester's item still goes to another key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["approve", "reject", "leave_unpaid"]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An item that stands in a round under review."""

    work_item: str
    worker: str
    price: int
    approves: int
    rejects: int


def settle(items: Sequence[Reviewed], distribution: Mapping[str, int], *, quorum: int) -> dict[str, Outcome]:
    """Return the outcome of every item by its id."""
    by_worker: dict[str, list[Reviewed]] = {}
    for item in items:
        by_worker.setdefault(item.worker, []).append(item)
    return {
        work_item: outcome
        for worker, theirs in by_worker.items()
        for work_item, outcome in _settle_one(theirs, distribution.get(worker, 0), quorum).items()
    }


def _settle_one(items: list[Reviewed], amount: int, quorum: int) -> dict[str, Outcome]:
    if amount == 0:
        return {item.work_item: "reject" if item.rejects >= quorum else "leave_unpaid" for item in items}
    if amount > 0:
        if len(items) == 1 or amount == sum(item.price for item in items):
            return {item.work_item: "approve" for item in items}
        return {item.work_item: _by_verdicts(item, quorum) for item in items}
    # The chain cut this key. Without a verdict that says for which item, none of them can be trusted.
    if len(items) == 1 or not any(item.rejects for item in items):
        return {item.work_item: "reject" for item in items}
    return {item.work_item: "reject" if item.rejects else "leave_unpaid" for item in items}


def _by_verdicts(item: Reviewed, quorum: int) -> Outcome:
    if item.rejects:
        return "reject"
    return "approve" if item.approves >= quorum else "leave_unpaid"
