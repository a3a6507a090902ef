"""Who is paid for a round: a pure function of chain state and of the verdicts on chain, so that all nodes compute one list.

An item with at least ``k`` approvals and no upheld rejection is paid its lease's price. Where a dispute on chain was upheld, the
worker's stake is cut. Everything else is neither: an item that could not be checked costs its worker nothing.

Whose approval counts: a key that is staked, that submitted for the next round (there its verdicts are), and that is not the
worker. Who said two different things about one item said nothing. Rejections count where they are votes: on chain, by stake.
What a round may pay is bounded; the earliest submissions come first, and an item that no longer fits waits for nobody: a
smaller one after it may still fit. A key may submit several proofs for a round; a rejection cuts it once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from koii_chain.lists import Amounts
from koii_chain.stake import is_upheld, stake_standing
from koii_chain.state import TaskState
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.round_value import proofs_in
from orca_protocol.verdict import Vote

Outcome = Literal["paid", "rejected", "too_few_approvals", "bounty_exhausted", "not_submitted", "no_price"]


#: who claims, and what: a copied proof is another claim than the proof
Claim = tuple[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """What a worker submitted for the round: one of the proofs that stand on chain, and the price its lease promises.

    The price was read from the proof, and is to be believed only when the lease's signature was checked.
    """

    worker: str
    cid: str
    price: int

    @property
    def claim(self) -> Claim:
        """Worker and CID."""
        return self.worker, self.cid


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

    def task_vars(self) -> str:
        """Return the text for the task's variables on chain, where every node reads the same policy."""
        return canonical({"approvals": self.approvals, "cut": self.cut_permille}).decode()


def policy_of(task: TaskState) -> Policy:
    """Return the policy that stands in the task's variables; what is not said there is as in ``Policy``.

    Raises InvalidError ``policy``, or as ``parse_json``, for variables that say something else: nobody guesses about money.
    """
    text = task.task_vars.strip()
    if not text:
        return Policy()
    said: Any = parse_json(text.encode(), max_bytes=4096, where="the task's variables")
    if not isinstance(said, dict) or not all(type(said.get(name, 0)) is int for name in ("approvals", "cut")):
        raise InvalidError("policy", "the task's variables are not an object with whole numbers `approvals` and `cut`")
    default = Policy()
    return Policy(said.get("approvals", default.approvals), said.get("cut", default.cut_permille))


def no_list_can_come(task: TaskState, number: int, slot: int) -> bool:
    """Whether a round ended without a payout: the time for lists is over and none came, or a whole round later all have failed.

    A list that nobody has had paid yet is still to come. A failed round may hold a newer list: it gets that round's time.
    """
    end = task.clock.distribution(number, retries=task.allowed_failed_distributions).end
    if not task.distribution_rewards_submission.get(number):
        return slot >= end
    return task.distributions_audit_record.get(number) == "PayoutFailed" and slot >= end + 2 * task.clock.round_time


@dataclass(frozen=True, slots=True)
class Distribution:
    """The list for the chain, what became of each item, and whose approvals of it count."""

    amounts: Amounts
    outcomes: dict[Claim, Outcome]
    approvals: dict[Claim, list[str]] = field(default_factory=dict)

    @property
    def pays(self) -> bool:
        """Whether the chain takes the list: Koii refuses one that pays nobody."""
        return any(amount > 0 for amount in self.amounts.values())


def distribute(task: TaskState, number: int, items: Iterable[Item], opinions: Iterable[Opinion], policy: Policy) -> Distribution:
    """Return the distribution of a round. The order of ``items`` and ``opinions``, and repetitions, make no difference.

    Raises InvalidError ``ambiguous_item`` when one proof is said to have two prices: their reader would have to choose.
    """
    chosen = _by_claim(items)
    approvals = _approvals(task, number, opinions)
    left = min(task.bounty_amount_per_round, task.total_bounty_amount)
    amounts: Amounts = {}
    outcomes: dict[Claim, Outcome] = {}
    for claim in sorted(chosen, key=lambda claim: _place(task, number, claim)):
        worker, item = claim[0], chosen[claim]
        outcome = _judged(task, number, item, len(approvals.get(claim, ())), policy)
        if outcome == "paid" and item.price > left:
            outcome = "bounty_exhausted"
        if outcome == "paid":
            amounts[worker] = amounts.get(worker, 0) + item.price
            left -= item.price
        outcomes[claim] = outcome
    # Whoever submitted something that was not even a proof has no item, and is cut all the same.
    for worker in task.submissions.get(number, {}):
        cut = task.stake_list.get(worker, 0) * policy.cut_permille // 1000
        if cut and _is_rejected(task, number, worker):
            amounts[worker] = -cut
    counted = {claim: sorted(approvals[claim]) for claim in sorted(chosen) if approvals.get(claim)}
    return Distribution(dict(sorted(amounts.items())), dict(sorted(outcomes.items())), counted)


def contradicts(listed: Amounts, own: Distribution) -> bool:
    """Whether a list says something else than this node computed: another payment, a cut of somebody else, or a deeper cut.

    How much is cut depends on the stake of the moment in which the list was made, which nobody can read any more: a list may cut
    less than this node would, for a stake that has grown since.
    """
    if {key: amount for key, amount in listed.items() if amount > 0} != {
        key: amount for key, amount in own.amounts.items() if amount >= 0
    }:
        return True
    cuts = {key: -amount for key, amount in listed.items() if amount < 0}
    mine = {key: -amount for key, amount in own.amounts.items() if amount < 0}
    return cuts.keys() != mine.keys() or any(amount > mine[key] for key, amount in cuts.items())


def _judged(task: TaskState, number: int, item: Item, approvals: int, policy: Policy) -> Outcome:
    submission = task.submitted(number, item.worker)
    if submission is None or item.cid not in proofs_in(submission.submission_value):
        return "not_submitted"
    if _is_rejected(task, number, item.worker):
        return "rejected"
    if item.price < 1:
        return "no_price"
    return "paid" if approvals >= policy.approvals else "too_few_approvals"


def _is_rejected(task: TaskState, number: int, worker: str) -> bool:
    """Whether a dispute on chain was upheld: it is about a key's whole submission, and so is its end."""
    return is_upheld(task.submissions_audit_trigger.get(number, {}).get(worker), task.stake_list)


def _approvals(task: TaskState, number: int, opinions: Iterable[Opinion]) -> dict[Claim, set[str]]:
    """Return who approves each item."""
    said: dict[Claim, dict[str, set[Vote]]] = {}
    for opinion in opinions:
        said.setdefault((opinion.worker, opinion.cid), {}).setdefault(opinion.auditor, set()).add(opinion.vote)
    return {
        claim: {
            auditor for auditor, votes in by_auditor.items() if votes == {"approve"} and _counts(task, number, auditor, claim[0])
        }
        for claim, by_auditor in said.items()
    }


def _counts(task: TaskState, number: int, auditor: str, worker: str) -> bool:
    return auditor != worker and stake_standing(task, auditor, submitted=number + 1).is_staked


def _by_claim(items: Iterable[Item]) -> dict[Claim, Item]:
    chosen: dict[Claim, Item] = {}
    for item in items:
        if chosen.setdefault(item.claim, item) != item:
            raise InvalidError("ambiguous_item", f"two different prices are claimed for what {item.worker} submitted")
    return chosen


def _place(task: TaskState, number: int, claim: Claim) -> tuple[int, str, int, str]:
    """The order of payment: by slot, then as the proofs stand in the submission. What was not submitted is paid nothing anyway."""
    worker, cid = claim
    submission = task.submitted(number, worker)
    if submission is None:
        return (0, worker, 0, cid)
    proofs = proofs_in(submission.submission_value)
    return (submission.slot, worker, proofs.index(cid) if cid in proofs else len(proofs), cid)
