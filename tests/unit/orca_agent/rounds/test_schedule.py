"""Which duty is due when: one example for each, and then what must hold for every state of a task, at every slot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.devnet import rounds
from koii_chain.devnet.program import Call, World
from koii_chain.instructions import (
    AuditDistribution,
    AuditSubmission,
    Payout,
    SubmitDistributionList,
    SubmitTask,
    UploadDistributionList,
)
from koii_chain.leader import successors
from koii_chain.lists import write_lists
from koii_chain.state import Submission, TaskState, Trigger, VoteRecord
from orca_agent.rounds.schedule import Done, Duty, claims_in, due, next_slot, opinion_on
from tests.unit.koii_chain.tasks import TASK, key, task

A, B, C = (key(number) for number in (1, 2, 3))
STRANGER = key(9)
CID, OTHER = (f"b{letter * 58}" for letter in "ac")
#: Rounds of 100 slots; submissions in the first 40 of the next round, votes in the 40 after. ``ROUND`` is the one looked at.
ROUND = 5
BEGIN, CLOSED, AUDITED = 600, 640, 680


def submitted(*keys: str, value: str = CID, number: int = ROUND, slot: int = BEGIN) -> dict[int, dict[str, Submission]]:
    return {number: {name: Submission(submission_value=value, slot=slot, round=number) for name in keys}}


def listed(*makers: str, number: int = ROUND, slot: int = 740) -> dict[int, dict[str, Submission]]:
    return {number: {name: Submission(submission_value=name, slot=slot + place, round=number) for place, name in enumerate(makers)}}


def disputed(worker: str, *voters: str, number: int = ROUND) -> dict[int, dict[str, Trigger]]:
    votes = tuple(VoteRecord(is_valid=False, voter=voter, slot=1) for voter in voters)
    return {number: {worker: Trigger(trigger_by=voters[0], slot=1, votes=votes)}}


def state(**changes: Any) -> TaskState:
    return task(**({"stake_list": dict.fromkeys([A, B, C], 1000)} | changes))


def kinds(duties: list[Duty]) -> list[str]:
    return [duty.kind for duty in duties]


def of_kind(kind: str, duties: list[Duty]) -> list[Duty]:
    return [duty for duty in duties if duty.kind == kind]


NOTHING = Done()


@pytest.mark.parametrize(("slot", "is_due"), [(599, False), (600, True), (639, True), (640, False)])
def test_a_round_is_submitted_in_the_window_after_it(slot: int, is_due: bool) -> None:
    assert (Duty(ROUND, "submit") in due(state(), slot, A, NOTHING)) is is_due


def test_a_round_is_submitted_once() -> None:
    assert due(state(submissions=submitted(A)), BEGIN, A, NOTHING) == []
    assert due(state(submissions=submitted(B)), BEGIN, A, NOTHING) == [Duty(ROUND, "submit")]


def test_a_submission_waits_for_verdicts_that_are_being_made_but_not_beyond_three_quarters_of_its_window() -> None:
    waiting = state(submissions=submitted(B, number=ROUND - 1))
    assert kinds(due(waiting, BEGIN, A, NOTHING)) == ["audit"]
    assert kinds(due(waiting, BEGIN + 29, A, NOTHING)) == ["audit"]
    assert kinds(due(waiting, BEGIN + 30, A, NOTHING)) == ["submit", "audit"]
    judged = Done(votes={ROUND - 1: {(B, CID): "approve"}})
    assert kinds(due(waiting, BEGIN, A, judged)) == ["submit"]
    not_drawn = Done(drawn={ROUND - 1: frozenset()})
    assert kinds(due(waiting, BEGIN, A, not_drawn)) == ["submit"]


def test_a_submission_waits_for_a_proof_that_is_being_reported_but_not_beyond_three_quarters_of_its_window() -> None:
    proved = Done(unreported=frozenset({ROUND}))
    assert due(state(), BEGIN + 29, A, proved) == []
    assert kinds(due(state(), BEGIN + 30, A, proved)) == ["submit"]
    assert kinds(due(state(), BEGIN, A, Done(unreported=frozenset({ROUND - 1})))) == ["submit"]


@pytest.mark.parametrize(("slot", "is_due"), [(639, False), (640, True), (700, True), (739, True), (740, False)])
def test_what_others_submitted_is_audited_from_the_end_of_its_window_to_the_end_of_the_next(slot: int, is_due: bool) -> None:
    both = state(submissions=submitted(A, B))
    assert (Duty(ROUND, "audit") in due(both, slot, A, NOTHING)) is is_due


def test_nobody_audits_its_own_what_it_has_judged_or_what_it_did_not_draw() -> None:
    assert Duty(ROUND, "audit") not in due(state(submissions=submitted(A)), CLOSED, A, NOTHING)
    two = state(submissions=submitted(A, B, C))
    assert Duty(ROUND, "audit") in due(two, CLOSED, A, Done(votes={ROUND: {(B, CID): "approve"}}))
    judged = Done(votes={ROUND: {(B, CID): "approve", (C, CID): "reject"}})
    assert Duty(ROUND, "audit") not in due(two, CLOSED, A, judged)
    drawn = Done(votes={ROUND: {(B, CID): "approve"}}, drawn={ROUND: frozenset({(B, CID)})})
    assert Duty(ROUND, "audit") not in due(two, CLOSED, A, drawn)


@pytest.mark.parametrize(("slot", "is_due"), [(639, False), (640, True), (679, True), (680, False)])
def test_a_rejected_proof_is_voted_against_in_the_audit_window(slot: int, is_due: bool) -> None:
    rejecting = Done(votes={ROUND: {(B, CID): "reject"}})
    assert (Duty(ROUND, "vote", B) in due(state(submissions=submitted(B)), slot, A, rejecting)) is is_due


def test_an_approved_proof_is_voted_for_only_where_somebody_disputes_it() -> None:
    approving = Done(votes={ROUND: {(B, CID): "approve"}})
    calm = state(submissions=submitted(B))
    assert of_kind("vote", due(calm, CLOSED, A, approving)) == []
    loud = state(submissions=submitted(B), submissions_audit_trigger=disputed(B, C))
    assert of_kind("vote", due(loud, CLOSED, A, approving)) == [Duty(ROUND, "vote", B)]
    assert of_kind("vote", due(loud, CLOSED, A, Done(votes={ROUND: {(B, CID): "abstain"}}))) == []
    assert of_kind("vote", due(loud, CLOSED, A, NOTHING)) == []


def test_nobody_votes_twice_or_on_its_own_or_on_what_was_not_submitted() -> None:
    voted = state(submissions=submitted(B), submissions_audit_trigger=disputed(B, A))
    rejecting = Done(votes={ROUND: {(B, CID): "reject"}})
    assert of_kind("vote", due(voted, CLOSED, A, rejecting)) == []
    assert of_kind("vote", due(state(submissions=submitted(B)), CLOSED, B, rejecting)) == []
    assert of_kind("vote", due(state(submissions=submitted(C)), CLOSED, A, rejecting)) == []


def test_a_submission_of_which_a_part_was_not_looked_at_is_not_voted_for() -> None:
    both = state(submissions=submitted(B, value=f"{CID} {OTHER}"), submissions_audit_trigger=disputed(B, C))
    one = Done(votes={ROUND: {(B, CID): "approve"}})
    assert of_kind("vote", due(both, CLOSED, A, one)) == []
    bad = Done(votes={ROUND: {(B, CID): "approve", (B, OTHER): "reject"}})
    assert of_kind("vote", due(both, CLOSED, A, bad)) == [Duty(ROUND, "vote", B)]


@pytest.mark.parametrize(
    ("votes", "opinion"),
    [
        ({}, "abstain"),
        ({(B, CID): "approve"}, "abstain"),
        ({(B, CID): "approve", (B, OTHER): "approve"}, "approve"),
        ({(B, CID): "approve", (B, OTHER): "abstain"}, "abstain"),
        ({(B, OTHER): "reject"}, "reject"),
        ({(C, CID): "reject"}, "abstain"),
    ],
)
def test_an_opinion_is_of_the_whole_submission(votes: Any, opinion: str) -> None:
    assert opinion_on(votes, B, [(B, CID), (B, OTHER), (C, CID)]) == opinion


def test_the_leader_makes_the_list_first_and_then_each_successor_a_round_later() -> None:
    ready = state(submissions=submitted(A, B, C))
    order = successors(ready, ROUND)
    for slot, whose in [(739, None), (740, 0), (799, 0), (800, 1), (900, 2), (1000, 0), (1099, 0), (1100, None)]:
        makers = [name for name in (A, B, C) if Duty(ROUND, "list") in due(ready, slot, name, NOTHING)]
        assert makers == ([] if whose is None else [order[whose]]), slot


def test_after_a_failed_list_the_next_in_the_order_makes_one_in_the_next_round() -> None:
    ready = state(submissions=submitted(A, B, C))
    order = successors(ready, ROUND)
    failed = ready.model_copy(
        update={
            "distribution_rewards_submission": listed(order[0]),
            "distributions_audit_record": {ROUND: "PayoutFailed"},
        }
    )
    for slot, turn in [(820, 1), (920, 2)]:
        makers = [name for name in (A, B, C) if Duty(ROUND, "list") in due(failed, slot, name, NOTHING)]
        assert makers == [order[turn]]


def test_no_list_is_made_twice_for_nothing_or_beside_one_that_waits_to_be_paid() -> None:
    ready = state(submissions=submitted(A))
    assert Duty(ROUND, "list") in due(ready, 740, A, NOTHING)
    assert Duty(ROUND, "list") not in due(ready, 740, A, Done(checked=frozenset({(ROUND, A)})))
    assert kinds(due(state(submissions=submitted(A, value="idle:no_work")), 740, A, Done(settled=frozenset({ROUND})))) == []
    both = state(submissions=submitted(A, B))
    leader, other = successors(both, ROUND)
    waiting = both.model_copy(update={"distribution_rewards_submission": listed(other)})
    assert of_kind("list", due(waiting, 760, leader, NOTHING)) == []
    paid = both.model_copy(update={"distributions_audit_record": {ROUND: "PayoutSuccessful"}})
    assert kinds(due(paid, 760, leader, NOTHING)) == ["settle"]


def test_a_list_is_checked_by_everybody_but_its_maker_until_it_can_be_paid() -> None:
    waiting = state(submissions=submitted(A), distribution_rewards_submission=listed(A))
    for slot, is_due in [(740, True), (819, True), (820, False)]:
        assert (Duty(ROUND, "check_list", A) in due(waiting, slot, B, NOTHING)) is is_due
        assert Duty(ROUND, "check_list", A) not in due(waiting, slot, A, NOTHING)
    assert of_kind("check_list", due(waiting, 740, B, Done(checked=frozenset({(ROUND, A)})))) == []
    voted = waiting.model_copy(update={"distributions_audit_trigger": disputed(A, B)})
    assert of_kind("check_list", due(voted, 740, B, NOTHING)) == []
    assert of_kind("check_list", due(voted, 740, C, NOTHING)) == [Duty(ROUND, "check_list", A)]


def test_a_list_that_is_right_is_voted_for_where_somebody_disputes_it() -> None:
    calm = state(submissions=submitted(A), distribution_rewards_submission=listed(A))
    loud = calm.model_copy(update={"distributions_audit_trigger": disputed(A, C)})
    sound = Done(checked=frozenset({(ROUND, A)}), sound=frozenset({(ROUND, A)}))
    assert of_kind("defend_list", due(loud, 819, B, sound)) == [Duty(ROUND, "defend_list", A)]
    assert of_kind("defend_list", due(loud, 820, B, sound)) == [], "it can be paid"
    assert of_kind("defend_list", due(calm, 819, B, sound)) == []
    assert of_kind("defend_list", due(loud, 819, B, Done(checked=frozenset({(ROUND, A)})))) == [], "it is not known to be right"
    assert of_kind("defend_list", due(loud, 819, A, sound)) == [], "its maker has no vote"
    voted = calm.model_copy(update={"distributions_audit_trigger": disputed(A, C, B)})
    assert of_kind("defend_list", due(voted, 819, B, sound)) == []


def test_no_list_hides_behind_a_newer_one() -> None:
    waiting = state(submissions=submitted(A, B), distribution_rewards_submission=listed(A, B))
    assert of_kind("check_list", due(waiting, 745, C, NOTHING)) == [Duty(ROUND, "check_list", A), Duty(ROUND, "check_list", B)]
    assert of_kind("payout", due(waiting, 865, C, NOTHING)) == [Duty(ROUND, "payout", A), Duty(ROUND, "payout", B)]


def test_a_list_is_paid_by_its_maker_first_and_an_audit_window_later_by_anybody() -> None:
    waiting = state(submissions=submitted(A), distribution_rewards_submission=listed(A))
    for slot, maker_pays, others_pay in [(819, False, False), (820, True, False), (859, True, False), (860, True, True)]:
        assert (Duty(ROUND, "payout", A) in due(waiting, slot, A, NOTHING)) is maker_pays
        assert (Duty(ROUND, "payout", A) in due(waiting, slot, B, NOTHING)) is others_pay
    assert of_kind("payout", due(waiting, 860, B, Done(paid=frozenset({(ROUND, A)})))) == []


@pytest.mark.parametrize("record", ["PayoutSuccessful", "PayoutFailed"])
def test_what_the_chain_shows_as_paid_or_failed_is_not_paid_again(record: Any) -> None:
    over = state(submissions=submitted(A), distribution_rewards_submission=listed(A), distributions_audit_record={ROUND: record})
    assert of_kind("payout", due(over, 860, A, NOTHING)) == []
    assert of_kind("payout", due(over, 860, B, NOTHING)) == []


def test_what_was_credited_is_collected_also_by_who_has_no_stake_left() -> None:
    rich = state(available_balances={STRANGER: 1, A: 1})
    assert due(rich, 500, A, NOTHING)[-1] == Duty(0, "collect", A)
    assert due(rich, 500, STRANGER, NOTHING) == [Duty(0, "collect", STRANGER)]
    assert due(state(available_balances={A: 0}), 550, A, NOTHING) == []


def test_a_round_is_settled_once_when_it_was_paid_or_when_nothing_can_come_of_it() -> None:
    paid = state(submissions=submitted(A), distributions_audit_record={ROUND: "PayoutSuccessful"})
    assert due(paid, 845, B, NOTHING) == [Duty(ROUND, "settle")]
    assert due(paid, 845, B, Done(settled=frozenset({ROUND}))) == []
    silent = state(submissions=submitted(A))
    assert of_kind("settle", due(silent, 1099, B, NOTHING)) == []
    assert of_kind("settle", due(silent, 1100, B, NOTHING)) == [Duty(ROUND, "settle")]
    idle = state(submissions=submitted(A, value="idle:no_work"))
    assert of_kind("settle", due(idle, 1100, B, NOTHING)) == [Duty(ROUND, "settle")], "what was reported for it may wait"
    assert of_kind("settle", due(state(submissions={}), 1100, B, NOTHING)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"stake_list": {A: 999}},
        {"stake_list": {}},
        {"is_active": False},
        {"is_allowlisted": False},
        {"is_migrated": True},
        {"starting_slot": 10_000},
    ],
    ids=["too little stake", "no stake", "inactive", "not allow-listed", "migrated", "not begun"],
)
def test_who_does_not_count_and_a_task_that_is_not_in_force_only_collect(changes: dict[str, Any]) -> None:
    busy: dict[str, Any] = {
        "submissions": submitted(A, B) | submitted(A, number=ROUND - 1, slot=500),
        "distribution_rewards_submission": listed(B, number=ROUND - 1, slot=640),
        "available_balances": {A: 5},
    }
    for slot in (BEGIN, CLOSED, 740, 860):
        assert due(state(**(busy | changes)), slot, A, NOTHING) == [Duty(0, "collect", A)]


def test_the_most_urgent_comes_first() -> None:
    everything = state(
        submissions=submitted(B, number=ROUND - 1, slot=500) | submitted(A, number=ROUND - 2, slot=400),
        distribution_rewards_submission=listed(A, number=ROUND - 2, slot=540),
        available_balances={A: 5},
    )
    assert kinds(due(everything, 635, A, NOTHING)) == ["submit", "audit", "payout", "collect"]


# -- what holds for every state -----------------------------------------------------------------------------------------------

_NAMES = [A, B, C, key(4)]
_KEYS = st.sampled_from(_NAMES)
_ROUNDS = st.integers(0, 9)
_VALUES = st.sampled_from([CID, OTHER, f"{CID} {OTHER}", f"{CID} verdicts:{OTHER}", "idle:no_work", "nonsense"])
_CLAIMS = st.tuples(_KEYS, st.sampled_from([CID, OTHER]))
_VOTES = st.dictionaries(_CLAIMS, st.sampled_from(["approve", "reject", "abstain"]), max_size=6)
_MADE = st.sets(st.tuples(_ROUNDS, _KEYS), max_size=6).map(frozenset)


@st.composite
def clocks(draw: st.DrawFn) -> dict[str, int]:
    windows = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return {
        "starting_slot": draw(st.integers(0, 7)),
        "submission_window": windows[0],
        "audit_window": windows[1],
        "round_time": sum(windows) + draw(st.integers(0, 4)),
        "allowed_failed_distributions": draw(st.integers(0, 3)),
    }


@st.composite
def states(draw: st.DrawFn) -> TaskState:
    """A task as its rules let it become: everything in its own window, lists by who submitted."""
    bare = task(**draw(clocks()), stake_list=draw(st.dictionaries(_KEYS, st.sampled_from([999, 1000, 5000]), max_size=4)))
    clock = bare.clock
    submissions: dict[int, dict[str, Submission]] = {}
    triggers: dict[int, dict[str, Trigger]] = {}
    lists: dict[int, dict[str, Submission]] = {}
    list_triggers: dict[int, dict[str, Trigger]] = {}
    for number in draw(st.sets(_ROUNDS, max_size=5)):
        window = clock.submission(number)
        slots = st.integers(window.first, window.end - 1)
        by_key = draw(st.dictionaries(_KEYS, st.tuples(_VALUES, slots), min_size=1, max_size=4))
        submissions[number] = {
            name: Submission(submission_value=value, slot=slot, round=number) for name, (value, slot) in by_key.items()
        }
        submitters = st.sampled_from(sorted(by_key))
        triggers[number] = draw(_triggers(submitters))
        late = clock.distribution(number, retries=bare.allowed_failed_distributions)
        made = draw(st.dictionaries(submitters, st.integers(late.first, late.end - 1), max_size=3))
        lists[number] = {name: Submission(submission_value=name, slot=slot, round=number) for name, slot in made.items()}
        list_triggers[number] = draw(_triggers(st.sampled_from(sorted(made)))) if made else {}
    return bare.model_copy(
        update={
            "submissions": submissions,
            "submissions_audit_trigger": triggers,
            "distribution_rewards_submission": lists,
            "distributions_audit_trigger": list_triggers,
            "distributions_audit_record": draw(
                st.dictionaries(_ROUNDS, st.sampled_from(["PayoutSuccessful", "PayoutFailed"]), max_size=3)
            ),
            "available_balances": draw(st.dictionaries(_KEYS, st.integers(0, 3), max_size=2)),
            "is_active": draw(st.sampled_from([True, True, True, False])),
        }
    )


@st.composite
def _triggers(draw: st.DrawFn, candidates: st.SearchStrategy[str]) -> dict[str, Trigger]:
    found = {}
    for candidate in draw(st.sets(candidates, max_size=2)):
        voters = [name for name in draw(st.lists(_KEYS, min_size=1, max_size=2, unique=True)) if name != candidate]
        if voters:
            votes = tuple(VoteRecord(is_valid=place > 0, voter=voter, slot=1) for place, voter in enumerate(voters))
            found[candidate] = Trigger(trigger_by=voters[0], slot=1, votes=votes)
    return found


_DONES = st.builds(
    Done,
    votes=st.dictionaries(_ROUNDS, _VOTES, max_size=4),
    drawn=st.dictionaries(_ROUNDS, st.sets(_CLAIMS, max_size=6).map(frozenset), max_size=4),
    checked=_MADE,
    sound=_MADE,
    paid=_MADE,
    settled=st.sets(_ROUNDS, max_size=4).map(frozenset),
    unreported=st.sets(_ROUNDS, max_size=2).map(frozenset),
)


def accept(given: TaskState, duty: Duty, slot: int, name: str, done: Done) -> None:
    """Do the duty on a devnet's task program. Raises InvalidError where it refuses."""
    listed_by = {maker for by_key in given.distribution_rewards_submission.values() for maker in by_key}
    amounts = {number: {TASK: {A: 1}} for number in given.distribution_rewards_submission}
    world = World(tasks={TASK: given}, lists=dict.fromkeys(listed_by, amounts))

    def call(subject: str = name) -> Call:
        return Call(slot, (TASK, name, subject), frozenset({name}))

    match duty.kind:
        case "submit":
            rounds.submit(world, call(), SubmitTask(CID, duty.round))
        case "vote":
            votes = done.votes.get(duty.round, {})
            is_valid = opinion_on(votes, duty.subject, claims_in(given, duty.round)) == "approve"
            rounds.audit_submission(world, call(duty.subject), AuditSubmission(is_valid, duty.round))
        case "list":
            data = write_lists({duty.round: {TASK: {A: 1}}})
            uploaded = rounds.upload(world, call(), UploadDistributionList(0, data, duty.round)).world
            rounds.submit_list(uploaded, call(), SubmitDistributionList(duty.round))
        case "check_list":
            rounds.audit_distribution(world, call(duty.subject), AuditDistribution(False, duty.round))
        case "defend_list":
            rounds.audit_distribution(world, call(duty.subject), AuditDistribution(True, duty.round))
        case "payout":
            rounds.payout(world, call(duty.subject), Payout(duty.round))


@given(states(), st.integers(0, 160), st.sampled_from([*_NAMES, STRANGER]), _DONES)
def test_nothing_is_due_that_the_chain_would_refuse(given_: TaskState, slot: int, name: str, done: Done) -> None:
    duties = due(given_, slot, name, done)
    assert len(set(duties)) == len(duties)
    for duty in duties:
        accept(given_, duty, slot, name, done)


@given(states(), st.integers(0, 160), _KEYS, _DONES)
def test_nothing_is_due_again_when_the_chain_shows_it(given_: TaskState, slot: int, name: str, done: Done) -> None:
    for duty in due(given_, slot, name, done):
        number, entry = duty.round, Submission(submission_value=CID, slot=slot, round=duty.round)
        votes = (VoteRecord(is_valid=False, voter=name, slot=slot),)
        voted = {number: {duty.subject: Trigger(trigger_by=name, slot=slot, votes=votes)}}
        shown: dict[str, Any] = {
            "submit": {"submissions": given_.submissions | {number: given_.submissions.get(number, {}) | {name: entry}}},
            "vote": {"submissions_audit_trigger": voted},
            "list": {"distribution_rewards_submission": {number: {name: entry}}},
            "check_list": {"distributions_audit_trigger": voted},
            "defend_list": {"distributions_audit_trigger": voted},
            "payout": {"distributions_audit_record": {number: "PayoutSuccessful"}},
            "collect": {"available_balances": {}},
        }
        if duty.kind in shown:
            assert duty not in due(given_.model_copy(update=shown[duty.kind]), slot, name, done)
    finished = replace(
        done,
        votes={number: dict.fromkeys(claims_in(given_, number), "abstain") for number in range(20)},
        settled=frozenset(range(20)),
    )
    assert not {"audit", "vote", "settle"} & set(kinds(due(given_, slot, name, finished)))


@given(states(), st.integers(0, 120), _DONES)
def test_between_a_slot_and_the_next_nothing_becomes_due_for_anybody(given_: TaskState, slot: int, done: Done) -> None:
    following = next_slot(given_, slot)
    assert following > slot
    for name in _NAMES:
        now = set(due(given_, slot, name, done))
        for between in range(slot + 1, following):
            assert set(due(given_, between, name, done)) <= now, (name, between)
