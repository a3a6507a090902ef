"""Decides what becomes of a run that waits, is held or was given up. Pure: the queue carries it out, by the database's clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: what ends the reason of a run that was tried again and again
_GIVEN_UP = re.compile(r" \(given up after [0-9]+ attempts\)\Z")
#: a doubling beyond this would overflow nothing but patience
_DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How long a run is a worker's, and how often it may be tried. Seconds."""

    #: a worker that was not heard of for so long has lost its run
    ttl: float = 30.0
    #: how often a worker says that it is there; several times in one ``ttl``
    beat: float = 5.0
    #: how often leases are looked through, and idle workers look for jobs
    sweep: float = 1.0
    #: a stored run that nobody took is announced again
    announce_again: float = 30.0
    #: workers that may fail on one run before the run is to blame
    attempts: int = 5
    #: the first wait after a failure; it doubles
    wait_first: float = 1.0
    wait_max: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.beat * 2 <= self.ttl:
            raise ValueError("a lease must outlive two of its heartbeats")
        if self.attempts < 1 or min(self.sweep, self.announce_again, self.wait_first) <= 0 or self.wait_max < self.wait_first:
            raise ValueError("attempts and waits must be positive, and the longest wait no shorter than the first")


@dataclass(frozen=True, slots=True)
class Announce:
    """Wake a worker for it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Leave it for so many seconds, then wake a worker."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """It ends without an output, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """It has ended; there is nothing left to do."""


def when_due(policy: LeasePolicy, attempts: int, *, is_held: bool, has_ended: bool) -> Announce | Fail | Close:
    """Decide on a run whose time has come: its lease expired, its wait is over, or nobody took it."""
    if has_ended:
        return Close()
    if is_held and attempts >= policy.attempts:
        return Fail(f"poison: {attempts} workers took this run and each of them ended or fell silent before the run did")
    return Announce()


def when_given_up(
    policy: LeasePolicy, attempts: int, reason: str, *, may_help: bool, retry_after: float | None = None
) -> Wait | Fail:
    """Decide on a run that its worker could not finish. ``may_help``: whether trying again could; ``attempts`` counts this one."""
    if not may_help:
        return Fail(reason)
    if attempts >= policy.attempts:
        return Fail(f"{reason} (given up after {attempts} attempts)")
    wait = min(policy.wait_max, policy.wait_first * 2.0 ** min(attempts - 1, _DOUBLINGS_MAX))
    return Wait(max(wait, min(retry_after or 0.0, policy.wait_max)))


def is_of_the_world(reason: str) -> bool:
    """Whether a run that failed for ``reason`` did so because the world did not answer: a run like it may come to an end later."""
    return _GIVEN_UP.search(reason) is not None
