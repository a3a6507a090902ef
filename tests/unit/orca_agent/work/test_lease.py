"""What becomes of runs that wait, are held or were given up: every run ends, whatever its workers do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.work.lease import Announce, Close, Fail, LeasePolicy, Wait, when_due, when_given_up

policies = st.builds(
    LeasePolicy,
    attempts=st.integers(1, 20),
    wait_first=st.floats(0.01, 10),
    wait_max=st.floats(10, 1000),
)


@given(policies, st.integers(0, 1000), st.booleans())
def test_a_run_that_has_ended_is_closed_whatever_else_holds(policy: LeasePolicy, attempts: int, is_held: bool) -> None:
    assert when_due(policy, attempts, is_held=is_held, has_ended=True) == Close()


@given(policies, st.integers(0, 1000))
def test_a_run_that_nobody_holds_is_announced(policy: LeasePolicy, attempts: int) -> None:
    assert when_due(policy, attempts, is_held=False, has_ended=False) == Announce()


@given(policies, st.integers(1, 1000))
def test_a_run_whose_worker_fell_silent_is_announced_until_it_is_to_blame(policy: LeasePolicy, attempts: int) -> None:
    decision = when_due(policy, attempts, is_held=True, has_ended=False)
    assert isinstance(decision, Fail if attempts >= policy.attempts else Announce)


@given(policies, st.integers(1, 1000), st.none() | st.floats(0, 1e9))
def test_waits_grow_stay_bounded_and_honour_the_worlds_wish(policy: LeasePolicy, attempts: int, wish: float | None) -> None:
    decision = when_given_up(policy, attempts, "why", may_help=True, retry_after=wish)
    if attempts >= policy.attempts:
        assert decision == Fail(f"why (given up after {attempts} attempts)")
        return
    assert isinstance(decision, Wait)
    assert policy.wait_first <= decision.seconds <= policy.wait_max
    assert decision.seconds >= min(wish or 0.0, policy.wait_max)
    later = when_given_up(policy, attempts + 1, "why", may_help=True, retry_after=wish)
    assert isinstance(later, Fail) or later.seconds >= decision.seconds


@given(policies, st.integers(1, 1000))
def test_what_trying_again_cannot_help_fails_at_once_with_its_own_reason(policy: LeasePolicy, attempts: int) -> None:
    assert when_given_up(policy, attempts, "why", may_help=False) == Fail("why")


@given(policies, st.lists(st.sampled_from(["killed", "unavailable", "bug"]), min_size=20, max_size=40))
def test_no_run_is_taken_more_often_than_its_limit(policy: LeasePolicy, fates: list[str]) -> None:
    """Workers that only ever fail, one after another, as the queue carries the decisions out."""
    claims = 0
    for fate in fates:
        claims += 1
        if fate == "killed":
            decision: Any = when_due(policy, claims, is_held=True, has_ended=False)
        else:
            decision = when_given_up(policy, claims, fate, may_help=True)
        if isinstance(decision, Fail):
            break
    assert claims == policy.attempts


@pytest.mark.parametrize(
    "wrong", [{"beat": 20.0}, {"beat": 0.0}, {"attempts": 0}, {"sweep": 0.0}, {"wait_first": 0.0}, {"wait_max": 0.5}]
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        LeasePolicy(**wrong)
