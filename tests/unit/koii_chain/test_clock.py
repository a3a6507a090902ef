from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.clock import LAG, Duty, RoundClock, Window
from orca_protocol.errors import InvalidError

#: a task in use on Koii: rounds of about 34 minutes
CLOCK = RoundClock(starting_slot=1_000_000, round_time=5000, submission_window=2200, audit_window=2200)


@st.composite
def clocks(draw: st.DrawFn) -> RoundClock:
    submission, audit = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    return RoundClock(draw(st.integers(0, 10_000)), submission + audit + draw(st.integers(0, 50)), submission, audit)


def test_a_round_is_submitted_audited_and_paid_in_the_rounds_after_it() -> None:
    assert CLOCK.work(7) == Window(1_035_000, 1_040_000)
    assert CLOCK.submission(7) == Window(1_040_000, 1_042_200)
    assert CLOCK.audit(7) == Window(1_042_200, 1_044_400)
    assert CLOCK.distribution(7) == Window(1_047_200, 1_050_000)
    assert CLOCK.payout_from(7, 1_047_300) == 1_051_700
    assert CLOCK.distribution(7, retries=2) == Window(1_047_200, 1_060_000)


def test_what_is_due_at_a_slot() -> None:
    assert CLOCK.duties(1_040_100) == {"work": 8, "submission": 7}
    assert CLOCK.duties(1_042_300) == {"work": 8, "audit": 7, "distribution": 6}
    assert CLOCK.duties(1_044_400) == {"work": 8, "distribution": 6}
    assert CLOCK.duties(1_000_000) == {"work": 0}
    assert CLOCK.duties(999_999) == {}


@given(clocks(), st.integers(0, 100_000))
def test_every_slot_from_the_first_on_lies_in_exactly_one_round(clock: RoundClock, offset: int) -> None:
    slot = clock.starting_slot + offset
    number = clock.round_at(slot)
    assert slot in clock.work(number)
    assert slot not in clock.work(number + 1)
    assert clock.work(number).end == clock.start_of(number + 1)


@given(clocks(), st.integers(0, 1000))
def test_the_windows_of_a_round_follow_each_other(clock: RoundClock, number: int) -> None:
    ends = [clock.work(number), clock.submission(number), clock.audit(number), clock.distribution(number)]
    assert all(earlier.end <= later.first for earlier, later in pairwise(ends))
    assert all(len(window) > 0 for window in ends)
    assert clock.submission(number + 1).end == clock.distribution(number).first, (
        "the verdicts on a round are on chain before its list"
    )


@given(clocks(), st.integers(0, 100_000), st.sampled_from(sorted(LAG)))
def test_duties_and_windows_say_the_same(clock: RoundClock, offset: int, duty: Duty) -> None:
    slot = clock.starting_slot + offset
    due = clock.duties(slot)
    number = clock.round_at(slot) - LAG[duty]
    assert (duty in due) == (number >= 0 and slot in clock.window(duty, max(number, 0)))


@given(clocks(), st.integers(0, 100_000), st.sampled_from(sorted(LAG)))
def test_the_next_window_is_the_first_that_has_not_begun(clock: RoundClock, slot: int, duty: Duty) -> None:
    number, window = clock.next_window(duty, slot)
    assert window == clock.window(duty, number)
    assert window.first > slot
    assert number == 0 or clock.window(duty, number - 1).first <= slot


@given(clocks(), st.integers(0, 100), st.integers(0, 10_000))
def test_nothing_is_paid_before_everybody_could_vote_on_the_list(clock: RoundClock, number: int, late: int) -> None:
    list_slot = clock.distribution(number).first + late
    paid = clock.payout_from(number, list_slot)
    assert paid >= clock.start_of(number + 3)
    assert paid - list_slot >= clock.submission_window + clock.audit_window


@pytest.mark.parametrize("schedule", [(0, 100, 60, 41), (0, 100, 0, 50), (0, 100, 50, 0), (-1, 100, 10, 10), (0, 0, 0, 0)])
def test_an_impossible_schedule_is_refused(schedule: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidError, match="schedule"):
        RoundClock(*schedule)


def test_before_its_start_a_task_has_no_round() -> None:
    with pytest.raises(InvalidError, match="before_start"):
        CLOCK.round_at(999_999)
    with pytest.raises(InvalidError, match="round"):
        CLOCK.start_of(-1)
