"""The task program of the devnet: submissions, disputes, distribution lists and payouts, by Koii's round schedule.

Exact thresholds of Koii's votes are not public; here the stake that voted decides (``stake.is_upheld``). A stake that a payout
cuts becomes bounty again. The last rounds only are kept, so that a task does not grow for ever.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

from koii_chain.devnet.program import Call, Effect, Upload, World, task_at, without
from koii_chain.instructions import (
    AuditDistribution,
    AuditSubmission,
    Payout,
    SubmitDistributionList,
    SubmitTask,
    UploadDistributionList,
)
from koii_chain.lists import LIST_MAX_BYTES, Amounts, read_lists
from koii_chain.stake import is_upheld, stake_standing
from koii_chain.state import Submission, TaskState, Trigger, VoteRecord
from orca_protocol.errors import InvalidError
from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58

#: Koii keeps as many rounds as a list may fail; a devnet keeps at least this many, so that a slow reader finds them
KEPT_ROUNDS: Final = 16

T = TypeVar("T")


def submit(world: World, call: Call, args: SubmitTask) -> Effect:
    """Take a submission: from a staked key, once per round, in the round's submission window."""
    task, submitter = task_at(world, call), call.signer(1)
    stake_standing(task, submitter).required()
    window = task.clock.submission(args.round)
    if call.slot < window.first:
        raise InvalidError("wrong_round", f"submissions for round {args.round} open at slot {window.first}; this is {call.slot}")
    if call.slot >= window.end:
        raise InvalidError(
            "late_submission", f"submissions for round {args.round} closed at slot {window.end}; this is {call.slot}"
        )
    if task.submitted(args.round, submitter) is not None:
        raise InvalidError("submitted_already", f"{submitter} has already submitted for round {args.round}")
    if not args.value:
        raise InvalidError("empty_submission", "a submission has at least one byte")
    entry = Submission(submission_value=args.value, slot=call.slot, round=args.round)
    submissions = _kept(_with(task.submissions, args.round, submitter, entry), task)
    return Effect(world.with_task(task.model_copy(update={"submissions": submissions})))


def audit_submission(world: World, call: Call, args: AuditSubmission) -> Effect:
    """Take a vote on a submission, in the round's audit window. The first must be against: it opens the dispute."""
    task, voter, candidate = task_at(world, call), call.signer(1), call.account(2)
    if task.submitted(args.round, candidate) is None:
        raise InvalidError("not_a_submitter", f"{candidate} submitted nothing for round {args.round}")
    if call.slot not in task.clock.audit(args.round):
        raise InvalidError("audit_closed", f"the audit of round {args.round} is not open at slot {call.slot}")
    _may_vote(task, voter, candidate)
    triggers = _voted(task, task.submissions_audit_trigger, call, args.round, args.is_valid)
    return Effect(world.with_task(task.model_copy(update={"submissions_audit_trigger": _kept(triggers, task)})))


def upload(world: World, call: Call, args: UploadDistributionList) -> Effect:
    """Take a piece of a list. Piece 0 begins anew; what was submitted stays as it is."""
    task, submitter = task_at(world, call), call.signer(1)
    stake_standing(task, submitter, submitted=args.round).required()
    begun = world.uploads.get(submitter)
    if args.chunk == 0:
        begun = Upload(task.task_id, args.round, 0, b"")
    if begun is None or (begun.task_id, begun.round, begun.pieces) != (task.task_id, args.round, args.chunk):
        raise InvalidError("list_piece", f"piece {args.chunk} does not follow what was uploaded for round {args.round}")
    if len(begun.data) + len(args.data) > LIST_MAX_BYTES:
        raise InvalidError("distribution_list", f"a list has at most {LIST_MAX_BYTES} bytes")
    more = replace(begun, pieces=begun.pieces + 1, data=begun.data + args.data)
    return Effect(replace(world, uploads=world.uploads | {submitter: more}))


def submit_list(world: World, call: Call, args: SubmitDistributionList) -> Effect:
    """Make the uploaded list the submitter's list for a round; from here on nobody can change it."""
    task, submitter = task_at(world, call), call.signer(1)
    call.expect(2, submitter, "the submitter's own staking account")
    stake_standing(task, submitter, submitted=args.round).required()
    window = task.clock.distribution(args.round, retries=task.allowed_failed_distributions)
    if call.slot not in window:
        raise InvalidError("list_closed", f"lists for round {args.round} are taken from slot {window.first} to {window.end}")
    if task.distributions_audit_record.get(args.round) == "PayoutSuccessful":
        raise InvalidError("paid_already", f"round {args.round} was paid")
    if submitter in task.distribution_rewards_submission.get(args.round, {}):
        raise InvalidError("list_exists", f"{submitter} has already submitted a list for round {args.round}")
    amounts = _uploaded(world, submitter, task, args.round)
    check_list(task, amounts)
    entry = Submission(submission_value=submitter, slot=call.slot, round=args.round)
    submitted = _kept(_with(task.distribution_rewards_submission, args.round, submitter, entry), task)
    listed = world.lists.get(submitter, {})
    mine = _kept(listed | {args.round: listed.get(args.round, {}) | {task.task_id: amounts}}, task)
    world = replace(world, lists=world.lists | {submitter: mine}, uploads=without(world.uploads, submitter))
    return Effect(world.with_task(task.model_copy(update={"distribution_rewards_submission": submitted})))


def audit_distribution(world: World, call: Call, args: AuditDistribution) -> Effect:
    """Take a vote on a list, from its submission until it may be paid."""
    task, voter, candidate = task_at(world, call), call.signer(1), call.account(2)
    entry = task.distribution_rewards_submission.get(args.round, {}).get(candidate)
    if entry is None:
        raise InvalidError("no_list", f"{candidate} has no list for round {args.round}")
    if call.slot >= task.clock.payout_from(args.round, entry.slot):
        raise InvalidError("audit_closed", f"the list of round {args.round} can be paid; the vote on it is over")
    _may_vote(task, voter, candidate)
    triggers = _voted(task, task.distributions_audit_trigger, call, args.round, args.is_valid)
    return Effect(world.with_task(task.model_copy(update={"distributions_audit_trigger": _kept(triggers, task)})))


def payout(world: World, call: Call, args: Payout) -> Effect:
    """Credit what a list says, or record that it failed: it was voted down, or it promises more than there is."""
    task, account = task_at(world, call), call.account(2)
    entry = task.distribution_rewards_submission.get(args.round, {}).get(account)
    if entry is None:
        raise InvalidError("no_list", f"{account} has no list for round {args.round}")
    if task.distributions_audit_record.get(args.round) == "PayoutSuccessful":
        raise InvalidError("paid_already", f"round {args.round} was paid")
    payable = task.clock.payout_from(args.round, entry.slot)
    if call.slot < payable:
        raise InvalidError(
            "payout_early", f"the list of round {args.round} can be paid from slot {payable} on; this is {call.slot}"
        )
    amounts = world.lists[account][args.round][task.task_id]
    trigger = task.distributions_audit_trigger.get(args.round, {}).get(account)
    try:
        if is_upheld(trigger, task.stake_list):
            raise InvalidError("voted_down", "the list was voted down")
        check_list(task, amounts)
    except InvalidError:
        return Effect(world.with_task(_recorded(task, args.round, success=False)))
    return Effect(world.with_task(_recorded(_credited(task, amounts), args.round, success=True)))


def check_list(task: TaskState, amounts: Amounts) -> None:
    """Raise InvalidError ``distribution_list`` or ``base58`` unless a list pays some key, and no more than a round may."""
    paid = sum(amount for amount in amounts.values() if amount > 0)
    if paid == 0:
        raise InvalidError("distribution_list", "a list pays somebody")
    if paid > task.bounty_amount_per_round:
        raise InvalidError("distribution_list", f"the list pays {paid}; a round has {task.bounty_amount_per_round}")
    if paid > task.total_bounty_amount:
        raise InvalidError("distribution_list", f"the list pays {paid}; {task.total_bounty_amount} is left of the bounty")
    for key in amounts:
        decode_base58(key, length=PUBLIC_KEY_BYTES, where="a key in the list")


def _credited(task: TaskState, amounts: Amounts) -> TaskState:
    balances, stakes = dict(task.available_balances), dict(task.stake_list)
    paid = cut = 0
    for key, amount in amounts.items():
        if amount > 0:
            balances[key] = balances.get(key, 0) + amount
            paid += amount
        elif amount < 0 and key in stakes:
            taken = min(stakes[key], -amount)
            stakes[key] -= taken
            cut += taken
    return task.model_copy(
        update={
            "available_balances": balances,
            "stake_list": {key: stake for key, stake in stakes.items() if stake},
            "total_stake_amount": task.total_stake_amount - cut,
            "total_bounty_amount": task.total_bounty_amount - paid + cut,
        }
    )


def _recorded(task: TaskState, number: int, *, success: bool) -> TaskState:
    record = task.distributions_audit_record | {number: "PayoutSuccessful" if success else "PayoutFailed"}
    return task.model_copy(update={"distributions_audit_record": _kept(record, task)})


def _uploaded(world: World, submitter: str, task: TaskState, number: int) -> Amounts:
    begun = world.uploads.get(submitter)
    if begun is None or (begun.task_id, begun.round) != (task.task_id, number):
        raise InvalidError("no_list", f"{submitter} uploaded no list for round {number}")
    lists = read_lists(begun.data, where=f"the list of {submitter}")
    if set(lists) != {number} or set(lists[number]) != {task.task_id}:
        raise InvalidError("distribution_list", f"the list is not about round {number} of task {task.task_id} alone")
    return lists[number][task.task_id]


def _may_vote(task: TaskState, voter: str, candidate: str) -> None:
    stake_standing(task, voter).required()
    if voter == candidate:
        raise InvalidError("own_vote", "nobody votes on what is their own")


def _voted(
    task: TaskState, triggers: dict[int, dict[str, Trigger]], call: Call, number: int, is_valid: bool
) -> dict[int, dict[str, Trigger]]:
    voter, candidate = call.account(1), call.account(2)
    trigger = triggers.get(number, {}).get(candidate)
    if trigger is None:
        if is_valid:
            raise InvalidError("no_dispute", f"nobody disputes {candidate} in round {number}; silence is approval")
        trigger = Trigger(trigger_by=voter, slot=call.slot, votes=())
    if any(vote.voter == voter for vote in trigger.votes):
        raise InvalidError("voted_already", f"{voter} has already voted on {candidate} in round {number} of {task.task_id}")
    vote = VoteRecord(is_valid=is_valid, voter=voter, slot=call.slot)
    return _with(triggers, number, candidate, trigger.model_copy(update={"votes": (*trigger.votes, vote)}))


def _with(by_round: dict[int, dict[str, T]], number: int, key: str, value: T) -> dict[int, dict[str, T]]:
    return by_round | {number: by_round.get(number, {}) | {key: value}}


def _kept(by_round: dict[int, T], task: TaskState) -> dict[int, T]:
    newest = max(by_round, default=0)
    span = max(KEPT_ROUNDS, task.allowed_failed_distributions)
    return {number: value for number, value in by_round.items() if number > newest - span}
