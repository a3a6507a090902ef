from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from koii_chain.leader import choose, leader_of, score, successors
from koii_chain.state import Submission
from tests.unit.koii_chain.tasks import key, task

#: as Koii's nodes compute it (reference vector)
VECTOR = {
    "AAA": Submission(submission_value="x", slot=100, round=3),
    "BBB": Submission(submission_value="y", slot=101, round=3),
    "CCC": Submission(submission_value="z", slot=102, round=3),
}


def entry(number: int) -> Submission:
    return Submission(submission_value=f"bafy{number}", slot=number, round=3)


def test_the_vector_comes_out() -> None:
    assert {name: score(VECTOR, name) for name in VECTOR} == {"AAA": 551, "BBB": 50, "CCC": 301}
    assert choose(VECTOR) == "AAA"


def test_after_a_failed_round_the_second_leads_whatever_the_order_of_scores() -> None:
    assert choose(VECTOR, second=True) == "CCC"
    assert choose({"AAA": VECTOR["AAA"]}, second=True) == "AAA"
    assert choose({}) is None


def test_who_was_there_for_three_rounds_comes_first() -> None:
    everyone = {key(number): entry(number) for number in range(4)}
    two = {key(1): entry(1), key(2): entry(2)}
    state = task(submissions={1: two, 2: {key(1): entry(1)}, 3: everyone})
    assert leader_of(state, 3) == key(1)


def test_where_nobody_was_there_for_three_rounds_everybody_is_a_candidate() -> None:
    state = task(submissions={3: VECTOR})
    assert leader_of(state, 3) == "AAA"
    assert leader_of(state, 4) is None


def test_the_first_rounds_ask_for_no_rounds_before_them() -> None:
    assert leader_of(task(submissions={0: VECTOR}), 0) == "AAA"


def test_who_made_a_failed_list_does_not_make_another() -> None:
    made = {3: {"AAA": Submission(submission_value=key(1), slot=1, round=3)}}
    state = task(submissions={3: VECTOR}, distribution_rewards_submission=made)
    assert leader_of(state, 3) == "AAA"
    failed = state.model_copy(update={"distributions_audit_record": {3: "PayoutFailed"}})
    assert leader_of(failed, 3) in ("BBB", "CCC")


def test_the_successors_are_everybody_who_submitted_and_begin_with_the_leader() -> None:
    everyone = {key(number): entry(number) for number in range(4)}
    state = task(submissions={1: {key(2): entry(2)}, 2: {key(2): entry(2)}, 3: everyone})
    order = successors(state, 3)
    assert order[0] == leader_of(state, 3) == key(2)
    assert sorted(order) == sorted(everyone)
    assert order[1:] == sorted(order[1:], key=lambda name: (-score(everyone, name), name))
    assert successors(task(), 3) == []


def test_the_order_of_succession_stays_when_a_list_fails() -> None:
    state = task(submissions={3: VECTOR})
    made = {3: {"AAA": Submission(submission_value=key(1), slot=1, round=3)}}
    failed = {"distribution_rewards_submission": made, "distributions_audit_record": {3: "PayoutFailed"}}
    assert successors(state.model_copy(update=failed), 3) == successors(state, 3) == ["AAA", "CCC", "BBB"]


@given(st.permutations(range(8)))
def test_every_node_names_the_same_leader(order: list[int]) -> None:
    shuffled = {key(number): entry(number) for number in order}
    straight = {key(number): entry(number) for number in range(8)}
    assert leader_of(task(submissions={3: shuffled}), 3) == leader_of(task(submissions={3: straight}), 3)
