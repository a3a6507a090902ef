from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.stake import is_upheld, stake_standing
from koii_chain.state import Submission, Trigger, VoteRecord
from orca_protocol.errors import InvalidError
from tests.unit.koii_chain.tasks import MINT, key, task

NODE = key(1)
SUBMITTED = {3: {NODE: Submission(submission_value="x", slot=9, round=3)}}


def test_a_key_counts_with_enough_stake_on_a_task_in_force() -> None:
    state = task(stake_list={NODE: 1000}, submissions=SUBMITTED)
    standing = stake_standing(state, NODE, mint=MINT, submitted=3)
    assert standing.is_staked
    standing.required()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"is_active": False}, "task_inactive"),
        ({"is_allowlisted": False}, "task_not_allowlisted"),
        ({"is_migrated": True}, "task_migrated"),
        ({"token_type": key(77)}, "other_mint"),
        ({"token_type": None}, "other_mint"),
        ({"stake_list": {}}, "not_staked"),
        ({"stake_list": {NODE: 0}}, "not_staked"),
        ({"stake_list": {NODE: 999}}, "stake_below_minimum"),
        ({"submissions": {}}, "not_a_submitter"),
    ],
)
def test_every_reason_why_not_has_a_code(changes: dict[str, Any], code: str) -> None:
    state = task(**({"stake_list": {NODE: 1000}, "submissions": SUBMITTED} | changes))
    standing = stake_standing(state, NODE, mint=MINT, submitted=3)
    assert standing.code == code
    assert not standing.is_staked
    with pytest.raises(InvalidError, match=code):
        standing.required()


def trigger(*votes: tuple[int, bool]) -> Trigger:
    records = tuple(VoteRecord(is_valid=is_valid, voter=key(voter), slot=1) for voter, is_valid in votes)
    return Trigger(trigger_by=key(1), slot=1, votes=records)


@pytest.mark.parametrize(
    ("votes", "upheld"),
    [
        ([], False),
        ([(1, False)], True),
        ([(1, False), (2, True)], False),
        ([(3, False), (2, True)], True),
        ([(1, False), (2, False), (3, True)], False),
        ([(9, False)], False),
    ],
    ids=["nobody", "alone", "a tie", "more stake", "heads do not count", "no stake"],
)
def test_stake_decides_a_dispute(votes: list[tuple[int, bool]], upheld: bool) -> None:
    assert is_upheld(trigger(*votes), {key(1): 10, key(2): 10, key(3): 20}) is upheld


def test_without_a_dispute_nothing_is_upheld() -> None:
    assert not is_upheld(None, {key(1): 10})


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=8))
def test_a_repeated_vote_adds_nothing(votes: list[tuple[int, bool]]) -> None:
    stakes = {key(number): number for number in range(6)}
    assert is_upheld(trigger(*votes), stakes) == is_upheld(trigger(*votes, *votes), stakes)
