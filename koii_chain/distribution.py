"""Who is paid for a round: a pure function of chain state and of the verdicts on chain, so that all nodes compute one list.

An item with at least ``k`` approvals and no upheld rejection is paid its lease's price. Where a dispute on chain was upheld, the
worker's stake is cut. Everything else is neither: an item that could not be checked costs its worker nothing.

Whose approval counts: a key that is staked, that submitted for the next round (there its verdicts are), and that is not the
worker. Who said two different things about one item said nothing. Rejections count where they are votes: on chain, by stake.
What a round may pay is bounded; the earliest submissions come first, and an item that no longer fits waits for nobody: a
smaller one after it may still fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from koii_chain.lists import Amounts
from koii_chain.stake import is_upheld, stake_standing
from koii_chain.state import TaskState
from orca_protocol.errors import InvalidError
from orca_protocol.verdict import Vote

Outcome = Literal["paid", "rejected", "too_few_approvals", "bounty_exhausted", "not_submitted", "no_price"]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """What a worker submitted for the round: the proof's CID as it stands on chain, and the price its lease promises.

    The price was read from the proof, and is to be believed only when the lease's signature was checked.
    """

    worker: str
    cid: str
    price: int


@dataclass(frozen=True, slots=True, order=True)
class Opinion:
    """What an auditor's verdict, found in its own submission for the next round and checked, says about a proof."""

    auditor: str
    worker: str
    cid: str
    vote: Vote


@dataclass(frozen=True, slots=True)
class Policy:
    """How many approvals pay, and which part of a stake, in thousandths, a rejection costs."""

    approvals: int = 2
    cut_permille: int = 700

    def __post_init__(self) -> None:
        if self.approvals < 1 or not 0 <= self.cut_permille <= 1000:
            raise InvalidError("policy", "at least one approval pays, and a cut is 0 to 1000 thousandths")


@dataclass(frozen=True, slots=True)
class Distribution:
    """The list for the chain, and what became of each item, by worker."""

    amounts: Amounts
    outcomes: dict[str, Outcome]


def distribute(task: TaskState, number: int, items: Iterable[Item], opinions: Iterable[Opinion], policy: Policy) -> Distribution:
    """Return the distribution of a round. The order of ``items`` and ``opinions``, and repetitions, make no difference.

    Raises InvalidError ``ambiguous_item`` when two different items claim one submission: their reader would have to choose.
    """
    chosen = _by_worker(items)
    approvals = _approvals(task, number, opinions)
    left = min(task.bounty_amount_per_round, task.total_bounty_amount)
    amounts: Amounts = {}
    outcomes: dict[str, Outcome] = {}
    for worker in sorted(chosen, key=lambda worker: _place(task, number, worker)):
        item = chosen[worker]
        outcome = _judged(task, number, item, len(approvals.get((worker, item.cid), ())), policy)
        if outcome == "paid" and item.price > left:
            outcome = "bounty_exhausted"
        if outcome == "paid":
            amounts[worker] = item.price
            left -= item.price
        elif outcome == "rejected":
            cut = task.stake_list.get(worker, 0) * policy.cut_permille // 1000
            if cut:
                amounts[worker] = -cut
        outcomes[worker] = outcome
    return Distribution(dict(sorted(amounts.items())), dict(sorted(outcomes.items())))


def _judged(task: TaskState, number: int, item: Item, approvals: int, policy: Policy) -> Outcome:
    submission = task.submitted(number, item.worker)
    if submission is None or submission.submission_value != item.cid:
        return "not_submitted"
    if is_upheld(task.submissions_audit_trigger.get(number, {}).get(item.worker), task.stake_list):
        return "rejected"
    if item.price < 1:
        return "no_price"
    return "paid" if approvals >= policy.approvals else "too_few_approvals"


def _approvals(task: TaskState, number: int, opinions: Iterable[Opinion]) -> dict[tuple[str, str], set[str]]:
    """Return who approves each item."""
    said: dict[tuple[str, str], dict[str, set[Vote]]] = {}
    for opinion in opinions:
        said.setdefault((opinion.worker, opinion.cid), {}).setdefault(opinion.auditor, set()).add(opinion.vote)
    return {
        item: {auditor for auditor, votes in by_auditor.items() if votes == {"approve"} and _counts(task, number, auditor, item[0])}
        for item, by_auditor in said.items()
    }


def _counts(task: TaskState, number: int, auditor: str, worker: str) -> bool:
    return auditor != worker and stake_standing(task, auditor, submitted=number + 1).is_staked


def _by_worker(items: Iterable[Item]) -> dict[str, Item]:
    chosen: dict[str, Item] = {}
    for item in items:
        if chosen.setdefault(item.worker, item) != item:
            raise InvalidError("ambiguous_item", f"two different items claim to be what {item.worker} submitted")
    return chosen


def _place(task: TaskState, number: int, worker: str) -> tuple[int, str]:
    """The order of payment. A worker that submitted nothing is paid nothing, wherever it stands."""
    submission = task.submitted(number, worker)
    return (0 if submission is None else submission.slot, worker)
