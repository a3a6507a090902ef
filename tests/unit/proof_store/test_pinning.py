"""The rules of keeping proofs: nothing counts before it was read back, nothing is lost, nothing is asked without end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof_store.pinning import Pin, PinPolicy, backoff, copies, counts, failed, is_safe, pinned, read_back

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = PinPolicy()
WANTED = Pin("root", "kubo", "wanted", NOW)

moments = st.datetimes(timezones=st.just(UTC))
steps = st.lists(st.sampled_from(["pin", "read", "fail", "gone", "wish"]), max_size=30)


def walked(names: list[str], policy: PinPolicy = POLICY) -> list[Pin]:
    """A pin's life: what can happen to it, one thing a minute."""
    pin, now, seen = WANTED, NOW, [WANTED]
    for name in names:
        now += timedelta(minutes=1)
        if name == "pin" and pin.stage == "wanted":
            pin = pinned(pin, now)
        elif name == "read" and pin.stage != "wanted":
            pin = read_back(pin, now, policy)
        elif name in ("fail", "gone", "wish"):
            pin = failed(pin, now, policy, "code: words", gone=name == "gone", wait=3.0 if name == "wish" else None)
        seen.append(pin)
    return seen


@given(steps)
def test_nothing_counts_that_was_not_read_back(names: list[str]) -> None:
    for pin in walked(names):
        if counts(pin, pin.due, POLICY):
            assert pin.stage == "kept"
            assert pin.checked_at is not None
            assert pin.pinned_at is not None


@given(steps)
def test_failures_are_counted_until_a_reading_and_wait_longer_each_time(names: list[str]) -> None:
    tries = 0
    for before, name, after in zip(walked(names), names, walked(names)[1:], strict=False):
        if after.stage == "kept" and name == "read":
            tries = 0
            assert after.error is None
        elif name in ("fail", "gone", "wish"):
            tries += 1
            assert after.error is not None
            assert after.due > before.due or after.due > NOW
        assert after.tries == tries


@given(st.integers(0, 10_000))
def test_the_wait_grows_to_its_ceiling(tries: int) -> None:
    assert POLICY.retry_first <= backoff(tries, POLICY) <= backoff(tries + 1, POLICY) <= POLICY.retry_most


@given(st.floats(0, 1e9))
def test_a_store_may_ask_for_patience_but_not_for_ever(wish: float) -> None:
    due = failed(WANTED, NOW, POLICY, "pin_pending: at it", gone=False, wait=wish).due
    assert POLICY.retry_first <= due - NOW <= POLICY.retry_most


def test_what_is_gone_is_pinned_again_and_what_is_silent_is_not() -> None:
    kept = read_back(pinned(WANTED, NOW), NOW, POLICY)
    assert failed(kept, NOW, POLICY, "kubo_silent: no answer", gone=False).stage == "kept"
    assert failed(kept, NOW, POLICY, "pin_gone: not there", gone=True).stage == "wanted"


def test_an_old_reading_shows_nothing() -> None:
    kept = read_back(pinned(WANTED, NOW), NOW, POLICY)
    assert counts(kept, NOW + POLICY.check_every * POLICY.stale_after, POLICY)
    assert not counts(kept, NOW + POLICY.check_every * POLICY.stale_after + timedelta(seconds=1), POLICY)


@given(st.sets(st.sampled_from(["local", "kubo", "service"])), st.integers(0, 3))
def test_a_proof_is_safe_in_as_many_stores_as_are_asked_for_and_there(kept_in: set[str], stores: int) -> None:
    pins = [read_back(pinned(Pin("root", store, "wanted", NOW), NOW), NOW, POLICY) for store in kept_in]
    assert copies([*pins, *pins], NOW, POLICY) == len(kept_in)
    assert is_safe(pins, stores, NOW, POLICY) == (len(kept_in) >= max(1, min(2, stores)))


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"stale_after": 0}, {"retention": timedelta(0)}, {"retry_first": timedelta(2)}])
def test_a_policy_that_keeps_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        PinPolicy(**wrong)  # type: ignore[arg-type]
