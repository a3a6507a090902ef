"""Refusals are counted by address, for a minute, for a bounded number of addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from orca_agent.api.failures import Failures, peer_of
from orca_protocol.errors import LimitError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_refused(failures: Failures, peer: str) -> bool:
    try:
        failures.refuse(peer)
    except LimitError as error:
        assert error.code == "too_many_failures"
        assert error.retry_after is not None
        assert 1 <= error.retry_after <= 60
        return True
    return False


def test_a_peer_is_refused_for_the_rest_of_its_minute_and_others_are_not() -> None:
    clock = Clock()
    failures = Failures(3, clock=clock)
    for _ in range(3):
        assert not is_refused(failures, "a")
        failures.add("a")
        clock.now += 5
    assert is_refused(failures, "a")
    assert not is_refused(failures, "b")
    with pytest.raises(LimitError):
        failures.add("a")
    clock.now = 59.0
    assert is_refused(failures, "a")
    clock.now = 60.5
    assert not is_refused(failures, "a")


@given(peers=st.lists(st.integers(0, 30), max_size=60))
def test_what_is_remembered_is_bounded(peers: list[int]) -> None:
    failures = Failures(2, peers=5)
    for peer in peers:
        try:
            failures.add(str(peer))
        except LimitError:
            continue
    assert sum(is_refused(failures, str(peer)) for peer in range(31)) <= 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
    ],
)
def test_of_ipv6_a_customers_network_is_one_peer(one: str, other: str, same: bool) -> None:
    peers = [peer_of(Request({"type": "http", "headers": [], "client": (host, 1)})) for host in (one, other)]
    assert (peers[0] == peers[1]) is same


def test_a_peer_without_an_address_is_one_too() -> None:
    assert peer_of(Request({"type": "http", "headers": [], "client": None})) == ""
