"""The rules: what may follow what, whose lease counts, who is staked, what is the same request, what a round's list says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middle_server.chain import Stake
from middle_server.rules.leases import Holding, check_holder, heartbeat_deadline
from middle_server.rules.moments import moment, rfc3339
from middle_server.rules.repeats import Asked, check_same
from middle_server.rules.settling import Reviewed, settle
from middle_server.rules.stakes import check_stake
from middle_server.rules.states import EVENTS, STATUSES, TRANSITIONS, Event, Status, after, is_final
from orca_protocol.errors import InvalidError

T0 = datetime(2027, 1, 15, tzinfo=UTC)
attempts = st.integers(0, 20)


@given(st.sampled_from(STATUSES), st.sampled_from(EVENTS), attempts, st.integers(1, 10))
def test_what_is_not_in_the_table_does_not_happen(status: Status, event: Event, had: int, at_most: int) -> None:
    if (status, event) in TRANSITIONS:
        follows = after(status, event, attempts=had, attempts_at_most=at_most)
        assert follows == TRANSITIONS[status, event] or (follows, TRANSITIONS[status, event]) == ("failed", "queued")
    else:
        with pytest.raises(InvalidError, match="transition_illegal"):
            after(status, event, attempts=had, attempts_at_most=at_most)


@given(st.lists(st.sampled_from(EVENTS), max_size=60), st.integers(1, 4))
def test_no_history_leaves_a_final_status_or_leases_more_often_than_allowed(events: list[Event], at_most: int) -> None:
    status: Status = "queued"
    had = 0
    for event in events:
        try:
            follows = after(status, event, attempts=had, attempts_at_most=at_most)
        except InvalidError:
            continue
        assert not is_final(status)
        had += event == "claim"
        status = follows
    assert had <= at_most


@given(attempts, st.integers(1, 10), st.sampled_from([("leased", "expire"), ("leased", "give_back"), ("in_review", "reject")]))
def test_koii_1_2_bug_6_an_item_fails_at_the_limit_and_beyond_it(had: int, at_most: int, step: tuple[Status, Event]) -> None:
    """The original failed an item after exactly five attempts; the sixth escaped."""
    follows = after(*step, attempts=had, attempts_at_most=at_most)
    assert follows == ("failed" if had >= at_most else "queued")


def test_final_statuses_are_these() -> None:
    assert {status for status in STATUSES if is_final(status)} == {"done", "unpaid", "failed", "cancelled"}


HOLDING = Holding("l", "worker", 3, T0 + timedelta(hours=1), None, 3, T0 + timedelta(seconds=60))


@given(
    st.sampled_from(["worker", "other"]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([None, "reported", "given_back", "expired", "cancelled"]),
    st.integers(-100, 200),
)
def test_only_the_holder_with_the_newest_token_passes_and_in_time(
    worker: str, token: int, current: int, ending: Any, seconds: int
) -> None:
    holding = replace(HOLDING, current_token=max(current, 3), ending=ending)
    may = worker == "worker" and token == 3 and holding.current_token == 3 and ending is None and seconds < 60
    try:
        check_holder(holding, worker=worker, fencing_token=token, now=T0 + timedelta(seconds=seconds))
    except InvalidError:
        assert not may
    else:
        assert may


def test_a_zombie_learns_that_another_has_its_item() -> None:
    with pytest.raises(InvalidError, match="fencing_token_stale"):
        check_holder(replace(HOLDING, current_token=4, ending="expired"), worker="worker", fencing_token=3, now=T0)


@given(st.integers(0, 7200), st.integers(1, 7200))
def test_no_heartbeat_keeps_a_lease_beyond_its_end(elapsed: int, seconds: int) -> None:
    now, expires = T0 + timedelta(seconds=elapsed), T0 + timedelta(hours=1)
    deadline = heartbeat_deadline(now, expires, seconds=seconds)
    assert deadline <= expires
    assert deadline == expires or deadline - now == timedelta(seconds=seconds)


@given(
    st.builds(Stake, st.integers(0, 300), st.integers(0, 300), is_active=st.booleans(), is_migrated=st.booleans()),
    st.integers(1, 300),
)
def test_koii_1_6_amount_activity_and_migration_count(stake: Stake, at_least: int) -> None:
    """The original looked whether the key was in the list, and at nothing else."""
    may = stake.is_active and not stake.is_migrated and stake.amount >= max(stake.minimum, at_least)
    try:
        check_stake(stake, at_least=at_least)
    except InvalidError as error:
        assert not may
        assert error.code in {"task_migrated", "task_inactive", "not_staked", "stake_too_low"}
    else:
        assert may


@given(st.text(max_size=5), st.text(max_size=5))
def test_only_the_same_bytes_are_the_same_request(first: str, second: str) -> None:
    if first == second:
        check_same(Asked("a", "k", first), second)
    else:
        with pytest.raises(InvalidError, match="request_reused"):
            check_same(Asked("a", "k", first), second)


reviewed = st.builds(
    Reviewed,
    work_item=st.uuids().map(str),
    worker=st.sampled_from(["a", "b", "c"]),
    price=st.integers(1, 10),
    approves=st.integers(0, 3),
    rejects=st.integers(0, 2),
)
lists = st.dictionaries(st.sampled_from(["a", "b", "c", "x"]), st.integers(-20, 20))


@given(st.lists(reviewed, max_size=6), lists)
def test_every_item_is_settled_once_and_never_against_the_chain(items: list[Reviewed], distribution: dict[str, int]) -> None:
    outcomes = settle(items, distribution, quorum=2)
    assert outcomes.keys() == {item.work_item for item in items}
    for item in items:
        amount = distribution.get(item.worker, 0)
        if outcomes[item.work_item] == "approve":
            assert amount > 0
        if amount == 0:
            assert outcomes[item.work_item] == ("reject" if item.rejects >= 2 else "leave_unpaid")
        if amount < 0:
            assert outcomes[item.work_item] != "approve"
            theirs = [outcomes[other.work_item] for other in items if other.worker == item.worker]
            assert "reject" in theirs, "a cut key has at least one rejected item"


def test_of_several_items_of_one_key_the_verdicts_say_which_was_meant() -> None:
    good, bad, unseen = Reviewed("g", "a", 5, 2, 0), Reviewed("b", "a", 5, 2, 1), Reviewed("u", "a", 5, 1, 0)
    assert settle([good, bad, unseen], {"a": 5}, quorum=2) == {"g": "approve", "b": "reject", "u": "leave_unpaid"}
    assert settle([good, bad, unseen], {"a": 15}, quorum=2) == {"g": "approve", "b": "approve", "u": "approve"}
    assert settle([good, bad], {"a": -1}, quorum=2) == {"g": "leave_unpaid", "b": "reject"}


@given(st.floats(0, 4_000_000_000))
def test_moments_are_written_in_milliseconds_and_never_ahead(unix: float) -> None:
    when = moment(unix)
    assert when.timestamp() <= unix
    assert rfc3339(when).endswith("Z")
    assert datetime.fromisoformat(rfc3339(when)) == when
