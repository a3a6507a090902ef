from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.devnet.rounds import check_list
from koii_chain.distribution import (
    Distribution,
    Item,
    Opinion,
    Outcome,
    Policy,
    contradicts,
    distribute,
    no_list_can_come,
    policy_of,
)
from koii_chain.state import Submission, TaskState, Trigger, VoteRecord
from orca_protocol.errors import InvalidError
from orca_protocol.verdict import Vote
from tests.unit.koii_chain.tasks import key, task

CID, OTHER, THIRD = ("b" + letter * 58 for letter in "acd")
WORKER, *AUDITORS = (key(number) for number in range(1, 6))
POLICY = Policy(approvals=2, cut_permille=700)
ITEM = Item(WORKER, CID, 500)


def submitted(number: int, *keys: str, value: str = CID, slot: int = 1) -> dict[str, Submission]:
    return {name: Submission(submission_value=value, slot=slot, round=number) for name in keys}


def state(**changes: Any) -> TaskState:
    """Round 3 was worked on by the worker; everybody submitted verdicts for round 4."""
    fields: dict[str, Any] = {
        "stake_list": dict.fromkeys([WORKER, *AUDITORS], 1000),
        "submissions": {3: submitted(3, WORKER), 4: submitted(4, *AUDITORS, WORKER, value="idle:no_work")},
        "bounty_amount_per_round": 1000,
        "total_bounty_amount": 10_000,
    }
    return task(**(fields | changes))


def said(vote: Vote, *auditors: str, cid: str = CID) -> list[Opinion]:
    return [Opinion(auditor, WORKER, cid, vote) for auditor in auditors]


def outcome(task_state: TaskState, opinions: list[Opinion], item: Item = ITEM) -> tuple[dict[str, int], Outcome]:
    found = distribute(task_state, 3, [item], opinions, POLICY)
    return found.amounts, found.outcomes[item.claim]


def disputed(*votes: tuple[str, bool]) -> dict[str, Any]:
    records = tuple(VoteRecord(is_valid=is_valid, voter=voter, slot=1) for voter, is_valid in votes)
    return {"submissions_audit_trigger": {3: {WORKER: Trigger(trigger_by=votes[0][0], slot=1, votes=records)}}}


def test_enough_approvals_are_paid_the_price() -> None:
    assert outcome(state(), said("approve", *AUDITORS[:2])) == ({WORKER: 500}, "paid")


@pytest.mark.parametrize(
    "opinions",
    [
        [],
        said("approve", AUDITORS[0]),
        said("approve", AUDITORS[0], AUDITORS[0]),
        said("approve", AUDITORS[0], WORKER),
        said("approve", AUDITORS[0], key(99)),
        said("approve", *AUDITORS[:2], cid=OTHER),
        said("abstain", *AUDITORS),
        [*said("approve", *AUDITORS[:2]), *said("reject", AUDITORS[1])],
        [*said("approve", *AUDITORS[:2]), *said("abstain", AUDITORS[1])],
    ],
    ids=["none", "one", "one twice", "its own", "a stranger's", "of another proof", "abstentions", "yes and no", "yes and perhaps"],
)
def test_too_few_approvals_are_neither_paid_nor_cut(opinions: list[Opinion]) -> None:
    assert outcome(state(), opinions) == ({}, "too_few_approvals")


def test_an_auditor_without_a_submission_for_the_next_round_does_not_count() -> None:
    absent = state(submissions={3: submitted(3, WORKER), 4: submitted(4, AUDITORS[0], value="idle:no_work")})
    assert outcome(absent, said("approve", *AUDITORS[:2])) == ({}, "too_few_approvals")


def test_an_auditor_with_too_little_stake_does_not_count() -> None:
    poor = state(stake_list=dict.fromkeys([WORKER, *AUDITORS], 1000) | {AUDITORS[0]: 999})
    assert outcome(poor, said("approve", *AUDITORS[:2])) == ({}, "too_few_approvals")


def test_an_upheld_rejection_is_cut_however_many_approve() -> None:
    upheld = state(**disputed((AUDITORS[0], False)))
    assert outcome(upheld, said("approve", *AUDITORS[1:4])) == ({WORKER: -700}, "rejected")


def test_a_rejection_that_was_outvoted_does_not_stop_the_price() -> None:
    outvoted = state(**disputed((AUDITORS[0], False), (AUDITORS[1], True), (AUDITORS[2], True)))
    assert outcome(outvoted, said("approve", *AUDITORS[1:3])) == ({WORKER: 500}, "paid")


def test_another_proof_than_the_one_on_chain_is_not_paid() -> None:
    assert outcome(state(), said("approve", *AUDITORS, cid=OTHER), Item(WORKER, OTHER, 500)) == ({}, "not_submitted")


def test_without_a_price_there_is_nothing_to_pay() -> None:
    assert outcome(state(), said("approve", *AUDITORS), Item(WORKER, CID, 0)) == ({}, "no_price")


def test_two_prices_for_one_proof_are_refused() -> None:
    with pytest.raises(InvalidError, match="ambiguous_item"):
        distribute(state(), 3, [ITEM, Item(WORKER, CID, 501)], [], POLICY)


def test_the_earliest_are_paid_first_and_what_still_fits_after_them() -> None:
    names = AUDITORS[:3]
    prices = dict(zip(names, (700, 400, 300), strict=True))
    round_3 = {name: Submission(submission_value=CID, slot=slot, round=3) for slot, name in enumerate(names)}
    full = state(submissions={3: round_3, 4: submitted(4, *AUDITORS, WORKER, value="idle:no_work")})
    opinions = [Opinion(auditor, name, CID, "approve") for name in names for auditor in (WORKER, AUDITORS[3])]
    found = distribute(full, 3, [Item(name, CID, prices[name]) for name in names], opinions, POLICY)
    assert found.amounts == {names[0]: 700, names[2]: 300}
    assert found.outcomes[names[1], CID] == "bounty_exhausted"


def test_no_more_is_paid_than_is_left_of_the_bounty() -> None:
    assert outcome(state(total_bounty_amount=499), said("approve", *AUDITORS)) == ({}, "bounty_exhausted")


def test_each_proof_of_a_submission_is_judged_by_itself_and_the_sum_is_paid() -> None:
    three = state(
        submissions={
            3: submitted(3, WORKER, value=f"{CID} {OTHER} {THIRD} verdicts:{CID}"),
            4: submitted(4, *AUDITORS, value="idle:no_work"),
        }
    )
    opinions = [*said("approve", *AUDITORS[:2]), *said("approve", *AUDITORS[:2], cid=OTHER), *said("abstain", *AUDITORS, cid=THIRD)]
    found = distribute(three, 3, [Item(WORKER, CID, 500), Item(WORKER, OTHER, 300), Item(WORKER, THIRD, 100)], opinions, POLICY)
    assert found.amounts == {WORKER: 800}
    assert found.outcomes == {(WORKER, CID): "paid", (WORKER, OTHER): "paid", (WORKER, THIRD): "too_few_approvals"}


def test_a_key_with_several_proofs_is_cut_once() -> None:
    two = state(submissions={3: submitted(3, WORKER, value=f"{CID} {OTHER}"), 4: {}}, **disputed((AUDITORS[0], False)))
    found = distribute(two, 3, [Item(WORKER, CID, 500), Item(WORKER, OTHER, 300)], [], POLICY)
    assert found.amounts == {WORKER: -700}
    assert not found.pays, "the chain takes no list that pays nobody"


def test_who_submitted_no_proof_at_all_is_cut_like_whoever_is_rejected() -> None:
    honest = AUDITORS[3]
    both = state(
        submissions={3: submitted(3, WORKER, honest), 4: submitted(4, *AUDITORS, value="idle:no_work")},
        **disputed((AUDITORS[0], False)),
    )
    opinions = [Opinion(auditor, honest, CID, "approve") for auditor in AUDITORS[:2]]
    found = distribute(both, 3, [Item(honest, CID, 500)], opinions, POLICY)
    assert found.amounts == {WORKER: -700, honest: 500}


def test_a_copied_proof_is_another_claim() -> None:
    thief = AUDITORS[3]
    both = state(submissions={3: submitted(3, WORKER, thief), 4: submitted(4, *AUDITORS, value="idle:no_work")})
    found = distribute(both, 3, [ITEM, Item(thief, CID, 500)], said("approve", *AUDITORS[:2]), POLICY)
    assert found.outcomes == {(WORKER, CID): "paid", (thief, CID): "too_few_approvals"}


@pytest.mark.parametrize(
    ("lists", "record", "slot", "is_over"),
    [
        ({}, {}, 899, False),
        ({}, {}, 900, True),
        ({3: submitted(3, WORKER)}, {}, 5000, False),
        ({3: submitted(3, WORKER)}, {3: "PayoutFailed"}, 900, False),
        ({3: submitted(3, WORKER)}, {3: "PayoutFailed"}, 1100, True),
    ],
    ids=["its lists may still come", "none came", "one waits to be paid", "another may follow", "all failed"],
)
def test_a_round_without_payout_ends(lists: Any, record: Any, slot: int, is_over: bool) -> None:
    found = state(distribution_rewards_submission=lists, distributions_audit_record=record)
    assert no_list_can_come(found, 3, slot) is is_over


@pytest.mark.parametrize(
    ("listed", "is_wrong"),
    [
        ({WORKER: 500, AUDITORS[0]: -700}, False),
        ({WORKER: 500, AUDITORS[0]: -1}, False),
        ({WORKER: 500, AUDITORS[0]: -701}, True),
        ({WORKER: 501, AUDITORS[0]: -700}, True),
        ({WORKER: 500}, True),
        ({WORKER: 500, AUDITORS[0]: -700, AUDITORS[1]: 1}, True),
        ({WORKER: 500, AUDITORS[0]: -700, AUDITORS[1]: -1}, True),
        ({AUDITORS[0]: -700}, True),
        ({WORKER: 500, AUDITORS[0]: -700, AUDITORS[1]: 0}, False),
        ({}, True),
    ],
    ids=[
        "same",
        "less cut",
        "deeper cut",
        "other price",
        "no cut",
        "one more paid",
        "one more cut",
        "nobody paid",
        "one gets nothing",
        "empty",
    ],
)
def test_a_list_contradicts_where_it_pays_or_cuts_somebody_else_or_pays_another_price(listed: Any, is_wrong: bool) -> None:
    own = Distribution({WORKER: 500, AUDITORS[0]: -700}, {})
    assert contradicts(listed, own) is is_wrong


def test_the_policy_stands_on_chain() -> None:
    assert policy_of(task()) == Policy()
    chosen = Policy(approvals=3, cut_permille=1000)
    assert policy_of(task(task_vars=chosen.task_vars())) == chosen
    assert len(chosen.task_vars()) <= 64, "CreateTask has 64 bytes for it"


@pytest.mark.parametrize("text", ["{", "[]", '{"approvals":"3"}', '{"approvals":0}', '{"cut":1001}', '{"approvals":true}'])
def test_a_policy_that_cannot_be_read_is_no_default(text: str) -> None:
    with pytest.raises(InvalidError):
        policy_of(task(task_vars=text))


@pytest.mark.parametrize("wrong", [(0, 700), (2, -1), (2, 1001)])
def test_a_policy_that_pays_without_approval_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(InvalidError, match="policy"):
        Policy(*wrong)


_NAMES = [key(number) for number in range(1, 9)]
_CIDS = [CID, OTHER, THIRD]
_ITEMS = st.lists(
    st.builds(Item, st.sampled_from(_NAMES), st.sampled_from(_CIDS), st.integers(0, 600)), max_size=8, unique_by=lambda i: i.claim
)
_OPINIONS = st.lists(
    st.builds(
        Opinion,
        st.sampled_from(_NAMES),
        st.sampled_from(_NAMES),
        st.sampled_from(_CIDS),
        st.sampled_from(["approve", "reject", "abstain"]),
    ),
    max_size=60,
)
_STATES = st.builds(
    lambda slots, stakes, votes: state(
        submissions={
            3: {name: Submission(submission_value=f"{CID} {OTHER}", slot=slot, round=3) for name, slot in slots.items()},
            4: submitted(4, *_NAMES[:6], value="idle:no_work"),
        },
        stake_list=stakes,
        submissions_audit_trigger={
            3: {
                worker: Trigger(trigger_by=voter, slot=1, votes=(VoteRecord(is_valid=is_valid, voter=voter, slot=1),))
                for worker, voter, is_valid in votes
            }
        },
    ),
    st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 5)),
    st.dictionaries(st.sampled_from(_NAMES), st.integers(900, 3000)),
    st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_NAMES), st.booleans()), max_size=4),
)


@given(_STATES, _ITEMS, _OPINIONS, st.randoms(use_true_random=False))
def test_every_node_computes_the_same_list(task_state: TaskState, items: list[Item], opinions: list[Opinion], chance: Any) -> None:
    first = distribute(task_state, 3, items, opinions, POLICY)
    chance.shuffle(items)
    again = [*opinions, *opinions[: len(opinions) // 2]]
    chance.shuffle(again)
    second = distribute(task_state, 3, items, again, POLICY)
    assert first == second
    assert list(first.amounts) == list(second.amounts)


@given(_STATES, _ITEMS, _OPINIONS)
def test_a_list_is_one_that_the_chain_takes(task_state: TaskState, items: list[Item], opinions: list[Opinion]) -> None:
    found = distribute(task_state, 3, items, opinions, POLICY)
    assert set(found.outcomes) == {item.claim for item in items}
    assert all(amount != 0 and type(amount) is int for amount in found.amounts.values())
    assert all(-amount <= task_state.stake_list[name] for name, amount in found.amounts.items() if amount < 0)
    if any(amount > 0 for amount in found.amounts.values()):
        check_list(task_state, found.amounts)
