"""What a run may use of its key's day: never more than is left, whatever was taken before."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orca_agent.store.ledger import Amounts, Asked, Taken, Terms
from orca_agent.work.ceilings import day_of, grant, left_of, refuse_beyond, spent_by
from orca_protocol.errors import LimitError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
_COUNTS = st.integers(0, 50) | st.none()
_MONEY = st.decimals(0, 50, places=2) | st.none()
_AMOUNTS = st.builds(Amounts, _COUNTS, _COUNTS, _COUNTS, _MONEY)


def terms(**daily: Any) -> Terms:
    return Terms("alice", 2, Amounts(**daily))


def refused(given_terms: Terms, taken: Taken, wanted: Amounts) -> LimitError:
    with pytest.raises(LimitError) as caught:
        grant(given_terms, taken, wanted, NOON)
    return caught.value


@given(daily=_AMOUNTS, spent=_AMOUNTS, reserved=_AMOUNTS, wanted=_AMOUNTS)
def test_what_is_granted_is_left_and_no_more_than_wanted(
    daily: Amounts, spent: Amounts, reserved: Amounts, wanted: Amounts
) -> None:
    taken = Taken(spent, reserved)
    try:
        granted = grant(Terms("k", 1, daily), taken, wanted, NOON)
    except LimitError:
        lefts = asdict(left_of(daily, taken))
        assert any(left is not None and (left == 0 or left < (asdict(wanted)[axis] or 0)) for axis, left in lefts.items())
        return
    for axis, amount in asdict(granted).items():
        ceiling, wish = asdict(daily)[axis], asdict(wanted)[axis]
        if ceiling is None:
            assert amount == wish
        else:
            assert amount is not None
            assert amount + (asdict(spent)[axis] or 0) + (asdict(reserved)[axis] or 0) <= ceiling
            assert wish is None or amount == wish


@given(daily=_AMOUNTS, wishes=st.lists(_AMOUNTS, max_size=8))
def test_runs_that_are_stored_one_after_the_other_never_reserve_more_than_the_day(daily: Amounts, wishes: list[Amounts]) -> None:
    reserved = {axis: Decimal(0) for axis in asdict(daily)}
    for wanted in wishes:
        taken = Taken(Amounts(), Amounts(**reserved))  # type: ignore[arg-type]
        try:
            granted = grant(Terms("k", 1, daily), taken, wanted, NOON)
        except LimitError:
            continue
        for axis, amount in asdict(granted).items():
            reserved[axis] += amount or 0
    assert all(ceiling is None or reserved[axis] <= ceiling for axis, ceiling in asdict(daily).items())


def test_what_nothing_bounds_but_the_key_is_reserved_as_a_whole() -> None:
    taken = Taken(Amounts(cost=Decimal("0.5")), Amounts())
    assert grant(terms(cost=Decimal(2)), taken, Amounts(calls=3), NOON) == Amounts(calls=3, cost=Decimal("1.5"))


@pytest.mark.parametrize(
    ("spent", "reserved", "wanted", "code", "wait"),
    [
        (0, 0, 11, "day_budget_small", None),
        (8, 0, 3, "day_budget_spent", 12 * 3600.0),
        (10, 0, None, "day_budget_spent", 12 * 3600.0),
        (0, 8, 3, "day_budget_reserved", 10.0),
        (0, 10, None, "day_budget_reserved", 10.0),
    ],
)
def test_a_refusal_says_whether_waiting_helps_and_how_long(
    spent: int, reserved: int, wanted: int | None, code: str, wait: float | None
) -> None:
    error = refused(terms(calls=10), Taken(Amounts(calls=spent), Amounts(calls=reserved)), Amounts(calls=wanted))
    assert (error.code, error.retry_after) == (code, wait)
    assert "alice" in error.detail
    assert "10" in error.detail


@given(concurrent=st.integers(1, 9), unfinished=st.integers(0, 20))
def test_a_key_has_no_more_runs_under_way_than_it_may(concurrent: int, unfinished: int) -> None:
    given_terms = Terms("alice", concurrent, Amounts())
    if unfinished < concurrent:
        refuse_beyond(given_terms, unfinished)
        return
    with pytest.raises(LimitError, match="too_many_runs") as caught:
        refuse_beyond(given_terms, unfinished)
    assert caught.value.retry_after


def test_a_day_is_the_one_in_utc() -> None:
    assert str(day_of(NOON)) == "2026-11-24"
    assert str(day_of(NOON + 12 * 3600)) == "2026-11-25"


def test_what_a_run_used_is_what_was_reported_and_the_most_where_nothing_was() -> None:
    asked = [
        Asked(1, True, (10, 20), 999, 999),
        Asked(2, True, (1, 2), 999, 999),  # asked once more after a crash
        Asked(1, True, None, 30, 40),  # nothing reported
        Asked(1, False, None, 30, 40),  # failed
        Asked(1, False, None, None, None),  # lost
    ]
    assert spent_by(asked, Amounts(cost=Decimal(3))) == Amounts(6, 41, 62, Decimal(3))
    assert spent_by([], Amounts()) == Amounts(0, 0, 0, None)


@given(daily=_AMOUNTS, spent=_AMOUNTS)
def test_nothing_is_left_below_nothing(daily: Amounts, spent: Amounts) -> None:
    assume(daily.calls is not None)
    left = left_of(daily, Taken(spent, Amounts())).calls
    assert left is not None
    assert left >= 0
