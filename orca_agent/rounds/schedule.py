"""Which duty is due at which slot: a pure function of the task's state on chain and of what this node has done already.

    start of round r     submit for r-1: proofs made in r-1, verdicts on r-2
    after its window     audit what others submitted for r-1; make or check the list of r-2
    audit window         vote on chain: against what was rejected, for what is disputed and was approved
    until a list is paid vote against one that is wrong, and for one that is right and disputed
    from a list's time   have it paid, collect what was credited, tell the middle server what became of the round

What the chain shows is never done again, whatever the node remembers: after a restart it begins with nothing but the chain
and its own verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from koii_chain.clock import RoundClock, Window
from koii_chain.distribution import Claim, no_list_can_come
from koii_chain.leader import successors
from koii_chain.stake import task_standing
from koii_chain.state import Submission, TaskState, Trigger
from orca_protocol.round_value import proofs_in
from orca_protocol.verdict import Vote

Kind = Literal["submit", "audit", "vote", "list", "check_list", "defend_list", "payout", "collect", "settle"]
#: rounds that are looked back at; the chain keeps no more
LOOK_BACK = 16


@dataclass(frozen=True, slots=True, order=True)
class Duty:
    """Something to do about a round; ``subject`` is the key it is about, where it is about one."""

    round: int
    kind: Kind
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What this node has done that the chain does not show, or not yet."""

    #: its verdicts, by round
    votes: Mapping[int, Mapping[Claim, Vote]] = field(default_factory=dict)
    #: claims drawn to be audited, by round; a round that is missing was not drawn yet
    drawn: Mapping[int, frozenset[Claim]] = field(default_factory=dict)
    #: lists (round, maker) that were compared with its own, and lists that it had paid
    checked: frozenset[tuple[int, str]] = frozenset()
    paid: frozenset[tuple[int, str]] = frozenset()
    #: lists that are the same as its own
    sound: frozenset[tuple[int, str]] = frozenset()
    settled: frozenset[int] = frozenset()
    #: rounds with a proof that is made and not reported yet: only what was reported is submitted
    unreported: frozenset[int] = frozenset()


def due(task: TaskState, slot: int, key: str, done: Done) -> list[Duty]:
    """Return what ``key`` has to do now, the most urgent first."""
    if slot < task.starting_slot or not task_standing(task).is_staked or task.stake_list.get(key, 0) < task.minimum_stake_amount:
        return _collect(task, key)
    number = task.clock.round_at(slot)
    duties = [
        *_submit(task, slot, key, done, number - 1),
        *_audit(task, slot, key, done, number - 1),
        *_vote(task, slot, key, done, number - 1),
    ]
    for past in range(max(0, number - LOOK_BACK), number - 1):
        duties += [*_list(task, slot, key, done, past), *_close(task, slot, key, done, past)]
    return [*duties, *_collect(task, key)]


def next_slot(task: TaskState, slot: int) -> int:
    """Return the first slot after ``slot`` at which something may become due for anybody."""
    if slot < task.starting_slot:
        return task.starting_slot
    clock, number = task.clock, task.clock.round_at(slot)
    moments = [clock.start_of(number + 1)]
    if number >= 1:
        moments += [clock.submission(number - 1).end, late_from(clock.submission(number - 1))]
    for past in range(max(0, number - LOOK_BACK), number):
        for _, entry in unpaid_lists(task, past):
            moments += _payout_slots(clock, past, entry)
    return min(moment for moment in moments if moment > slot)


def claims_in(task: TaskState, number: int) -> frozenset[Claim]:
    """Return every proof that was submitted for a round, with who submitted it."""
    submitted = task.submissions.get(number, {}) if number >= 0 else {}
    return frozenset((worker, cid) for worker, entry in submitted.items() for cid in proofs_in(entry.submission_value))


def unpaid_lists(task: TaskState, number: int) -> list[tuple[str, Submission]]:
    """Return the lists of a round that may still be paid, with who made each, the oldest first.

    The chain does not say which of several lists failed; where there is one only, it was that.
    """
    lists, record = task.distribution_rewards_submission.get(number, {}), task.distributions_audit_record.get(number)
    if record == "PayoutSuccessful" or (record == "PayoutFailed" and len(lists) == 1):
        return []
    return sorted(lists.items(), key=lambda item: (item[1].slot, item[0]))


def _submit(task: TaskState, slot: int, key: str, done: Done, number: int) -> list[Duty]:
    if number < 0 or task.submitted(number, key) is not None:
        return []
    if slot not in task.clock.submission(number):
        return []
    # Verdicts that are still being made and proofs that are still being reported are waited for, but not to the last moment.
    is_waiting = number in done.unreported or _unfinished(task, key, done, number - 1)
    return [] if is_waiting and not is_late(task, slot, number) else [Duty(number, "submit")]


def is_late(task: TaskState, slot: int, number: int) -> bool:
    """Whether so little is left of a round's submission window that nothing is waited for."""
    return slot >= late_from(task.clock.submission(number))


def late_from(window: Window) -> int:
    """Return the slot from which on a submission waits for nothing."""
    return window.first + 3 * len(window) // 4


def _audit(task: TaskState, slot: int, key: str, done: Done, number: int) -> list[Duty]:
    """Return the audits of a round's submissions, from the end of their window on; and late ones of the round before."""
    duties = []
    for past in (number - 1, number):
        if past >= 0 and slot >= task.clock.submission(past).end and slot < task.clock.submission(past + 1).end:
            duties += [Duty(past, "audit")] if _unfinished(task, key, done, past) else []
    return duties


def _unfinished(task: TaskState, key: str, done: Done, number: int) -> bool:
    """Whether claims of a round wait for this node's verdict."""
    others = {claim for claim in claims_in(task, number) if claim[0] != key}
    return bool(others & done.drawn.get(number, frozenset(others)) - done.votes.get(number, {}).keys())


def _vote(task: TaskState, slot: int, key: str, done: Done, number: int) -> list[Duty]:
    if number < 0 or slot not in task.clock.audit(number):
        return []
    claims, duties = claims_in(task, number), []
    for worker in sorted({worker for worker, _ in claims} - {key}):
        trigger = task.submissions_audit_trigger.get(number, {}).get(worker)
        opinion = opinion_on(done.votes.get(number, {}), worker, claims)
        if not _has_voted(trigger, key) and (opinion == "reject" or (opinion == "approve" and trigger is not None)):
            duties.append(Duty(number, "vote", worker))
    return duties


def _has_voted(trigger: Trigger | None, key: str) -> bool:
    return trigger is not None and any(vote.voter == key for vote in trigger.votes)


def opinion_on(votes: Mapping[Claim, Vote], worker: str, claims: Iterable[Claim]) -> Vote:
    """Return what verdicts on a worker's ``claims`` say of its whole submission, which is what the chain votes on.

    One rejected proof rejects it; it is approved only where every proof in it was looked at and approved.
    """
    theirs = {votes.get(claim, "abstain") for claim in claims if claim[0] == worker}
    return "reject" if "reject" in theirs else "approve" if theirs == {"approve"} else "abstain"


def _list(task: TaskState, slot: int, key: str, done: Done, number: int) -> list[Duty]:
    """Return the duty to make a round's list, or to check each one that somebody made."""
    record = task.distributions_audit_record.get(number)
    if record == "PayoutSuccessful" or not claims_in(task, number):
        return []
    pending = [(maker, entry) for maker, entry in unpaid_lists(task, number) if (number, maker) not in done.paid]
    if pending:
        return [duty for maker, entry in pending for duty in _judge(task, slot, key, done, number, maker, entry)]
    if (number, key) in done.checked or slot not in task.clock.distribution(number, retries=task.allowed_failed_distributions):
        return []
    if task.submitted(number, key) is None or key in task.distribution_rewards_submission.get(number, {}):
        return []
    # The first of the order has the first round for it; then each the next.
    order = successors(task, number)
    turn = task.clock.round_at(slot) - number - 2
    return [Duty(number, "list")] if order and order[turn % len(order)] == key else []


def _judge(task: TaskState, slot: int, key: str, done: Done, number: int, maker: str, entry: Submission) -> list[Duty]:
    """Return the duty to compare somebody's list with one's own, or to stand up for it where it is right and disputed."""
    trigger = task.distributions_audit_trigger.get(number, {}).get(maker)
    if maker == key or slot >= task.clock.payout_from(number, entry.slot) or _has_voted(trigger, key):
        return []
    if (number, maker) not in done.checked:
        return [Duty(number, "check_list", maker)]
    # Who disputes a right list must not be the only one who votes: stake decides, and silence has none.
    is_disputed = trigger is not None and (number, maker) in done.sound
    return [Duty(number, "defend_list", maker)] if is_disputed else []


def _close(task: TaskState, slot: int, key: str, done: Done, number: int) -> list[Duty]:
    """Return the duties that end a round: have its lists paid, and say so to the middle server."""
    duties = []
    for maker, entry in unpaid_lists(task, number):
        own, others = _payout_slots(task.clock, number, entry)
        if (number, maker) not in done.paid and slot >= (own if maker == key else others):
            duties.append(Duty(number, "payout", maker))
    is_over = task.distributions_audit_record.get(number) == "PayoutSuccessful" or no_list_can_come(task, number, slot)
    # Also a round without claims: what was reported for it and never came on chain would wait for ever.
    if is_over and number not in done.settled and task.submissions.get(number):
        duties.append(Duty(number, "settle"))
    return duties


def _payout_slots(clock: RoundClock, number: int, entry: Submission) -> tuple[int, int]:
    """Return from when on the list's maker has it paid, and from when on everybody else, should the maker be gone."""
    first = clock.payout_from(number, entry.slot)
    return first, first + clock.audit_window


def _collect(task: TaskState, key: str) -> list[Duty]:
    return [Duty(0, "collect", key)] if task.available_balances.get(key, 0) > 0 else []
