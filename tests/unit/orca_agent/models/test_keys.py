"""Which key a call goes out with: rules that hold for any order of calls, refusals and rests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.keys import KeyRing, KeyRule, Taken

RULE = KeyRule(limited=5.0, refused=300.0, cap=3600.0, wish_cap=86_400.0)


def took(ring: KeyRing, now: float = 0.0) -> Taken:
    taken = ring.take(now)
    assert taken is not None
    return taken


def test_the_key_with_the_fewest_calls_in_flight_takes_the_next() -> None:
    ring = KeyRing(3)
    first, second, third = took(ring), took(ring), took(ring)
    assert {first.key, second.key, third.key} == {0, 1, 2}
    ring.accepted(second)
    assert took(ring).key == second.key


def test_calls_one_after_another_go_round() -> None:
    ring = KeyRing(3)
    keys = []
    for _ in range(6):
        taken = took(ring)
        keys.append(taken.key)
        ring.accepted(taken)
    assert keys == [0, 1, 2, 0, 1, 2]


def test_a_refused_key_rests_and_then_one_call_tries_it() -> None:
    ring = KeyRing(1, RULE)
    ring.refused(took(ring), "rate_limited", None, 0.0)
    assert ring.take(4.9) is None
    assert ring.wait(2.0) == 3.0
    probe = took(ring, 5.0)
    assert probe.is_probe
    assert ring.is_probing
    assert ring.take(5.0) is None
    ring.accepted(probe)
    assert not took(ring, 5.0).is_probe
    assert not took(ring, 5.0).is_probe


def test_a_key_that_is_refused_again_rests_twice_as_long_up_to_the_cap() -> None:
    ring = KeyRing(1, RULE)
    now, rests = 0.0, []
    for _ in range(12):
        ring.refused(took(ring, now), "rate_limited", None, now)
        rests.append(ring.wait(now))
        now += rests[-1]
    assert rests == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0, 3600.0]


def test_a_key_that_was_let_in_again_starts_from_the_beginning() -> None:
    ring = KeyRing(1, RULE)
    ring.refused(took(ring), "rate_limited", None, 0.0)
    ring.accepted(took(ring, 5.0))
    ring.refused(took(ring, 6.0), "rate_limited", None, 6.0)
    assert ring.wait(6.0) == 5.0


@pytest.mark.parametrize(
    ("reason", "wish", "rest"),
    [
        ("rate_limited", 17.0, 17.0),
        ("rate_limited", 0.0, 0.0),
        ("rate_limited", 1e9, 86_400.0),
        ("payment_required", 30.0, 30.0),
        ("unauthorised", None, 300.0),
        ("payment_required", None, 300.0),
    ],
)
def test_the_servers_wish_counts_before_our_own_measure(reason: str, wish: float | None, rest: float) -> None:
    ring = KeyRing(1, RULE)
    ring.refused(took(ring), reason, wish, 0.0)
    assert ring.wait(0.0) == rest


def test_a_crowd_that_is_refused_at_once_counts_once() -> None:
    ring = KeyRing(1, RULE)
    crowd = [took(ring) for _ in range(50)]
    for taken in crowd:
        ring.refused(taken, "rate_limited", None, 0.0)
    assert ring.wait(0.0) == 5.0


def test_the_longest_wish_of_a_crowd_counts() -> None:
    ring = KeyRing(1, RULE)
    first, second = took(ring), took(ring)
    ring.refused(first, "rate_limited", 3.0, 0.0)
    ring.refused(second, "rate_limited", 60.0, 1.0)
    assert ring.wait(1.0) == 60.0


def test_a_late_success_does_not_end_a_rest() -> None:
    ring = KeyRing(1, RULE)
    first, second = took(ring), took(ring)
    ring.refused(first, "rate_limited", None, 0.0)
    ring.accepted(second)
    assert ring.take(1.0) is None


def test_a_try_that_finds_nothing_out_leaves_the_next_call_to_try() -> None:
    ring = KeyRing(1, RULE)
    ring.refused(took(ring), "rate_limited", None, 0.0)
    ring.undecided(took(ring, 5.0))
    assert took(ring, 5.0).is_probe


def test_a_key_that_is_due_is_tried_although_others_work() -> None:
    ring = KeyRing(2, RULE)
    ring.refused(took(ring), "rate_limited", None, 0.0)
    assert took(ring, 1.0).key == 1
    assert took(ring, 5.0) == Taken(0, is_probe=True)
    assert took(ring, 5.0) == Taken(1, is_probe=False)


def test_the_reasons_are_counted() -> None:
    ring = KeyRing(3, RULE)
    for reason in ("unauthorised", "rate_limited", "unauthorised"):
        ring.refused(took(ring), reason, None, 0.0)
    assert ring.resting() == "1 × rate_limited, 2 × unauthorised"


def test_a_ring_without_keys_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        KeyRing(0)


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "accept", "limit", "forbid", "leave"]),
        st.integers(0, 5),
        st.floats(0, 400),
        st.none() | st.floats(0, 1000),
    ),
    max_size=60,
)


@given(st.integers(1, 4), steps)
def test_whatever_happens_a_resting_key_rests_and_at_most_one_call_tries_it(
    count: int, story: list[tuple[str, int, float, float | None]]
) -> None:
    """Holds the ring against a model that knows only what was promised: what rests at least until when, and who tries."""
    ring, now, under_way = KeyRing(count, RULE), 0.0, list[Taken]()
    rests: dict[int, float] = {}
    for what, which, seconds, wish in story:
        now += seconds
        if what == "take":
            tried = {call.key for call in under_way if call.is_probe}
            ready = [key for key in range(count) if key not in rests]
            loads = [sum(call.key == key for call in under_way) for key in range(count)]
            taken = ring.take(now)
            if taken is None:
                assert not ready
            elif taken.is_probe:
                assert rests[taken.key] <= now
                assert taken.key not in tried
            else:
                assert loads[taken.key] == min(loads[key] for key in ready)
            under_way += [taken] if taken is not None else []
        elif under_way:
            taken = under_way.pop(which % len(under_way))
            if what == "accept":
                ring.accepted(taken)
                if taken.is_probe:
                    del rests[taken.key]
            elif what == "leave":
                ring.undecided(taken)
            else:
                ring.refused(taken, "rate_limited" if what == "limit" else "unauthorised", wish, now)
                least = now + (RULE.limited if what == "limit" else RULE.refused) if wish is None else now + wish
                if taken.is_probe or taken.key not in rests:
                    rests[taken.key] = least
                elif wish is not None:
                    rests[taken.key] = max(rests[taken.key], least)


@given(st.integers(1, 4), st.integers(1, 40))
def test_no_key_starves(count: int, calls: int) -> None:
    ring, used = KeyRing(count), [0] * count
    for _ in range(calls):
        taken = took(ring)
        used[taken.key] += 1
        ring.accepted(taken)
    assert max(used) - min(used) <= 1


@given(st.integers(2, 4), st.floats(0, 1000), st.none() | st.floats(0, 100_000))
def test_every_key_comes_back(count: int, at: float, wish: float | None) -> None:
    ring = KeyRing(count, RULE)
    for taken in [took(ring, at) for _ in range(count)]:
        ring.refused(taken, "unauthorised", wish, at)
    later = at + ring.wait(at) + RULE.wish_cap
    tried = [took(ring, later) for _ in range(count)]
    assert {taken.key for taken in tried} == set(range(count))
    assert all(taken.is_probe for taken in tried)
    assert ring.take(later) is None
