"""The rules of keeping proofs: when a pin counts, what is due next, when a proof is safe, what may be collected. Pure.

    wanted ──pinned──▶ pinned ──read back──▶ kept ──read back──▶ kept …
       ▲                  │                   │
       └──────────────────┴── it is gone ─────┘         a failure that shows nothing leaves the stage, and is tried again

Only ``kept`` counts, and only while it was read back lately.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

Stage = Literal["wanted", "pinned", "kept"]


@dataclass(frozen=True, slots=True)
class PinPolicy:
    """How proofs are kept."""

    #: stores that a proof must be kept in, as far as there are so many
    copies: int = 2
    #: the first wait after a failure; it doubles with each
    retry_first: timedelta = timedelta(seconds=5)
    retry_most: timedelta = timedelta(hours=1)
    #: between two readings of a pin that is kept
    check_every: timedelta = timedelta(days=1)
    #: a reading older than so many of those intervals shows nothing any more
    stale_after: int = 3
    #: how long a proof stays, from when this node took it up
    retention: timedelta = timedelta(days=365)

    def __post_init__(self) -> None:
        waits = (self.retry_first, self.retry_most, self.check_every, self.retention)
        if self.copies < 1 or self.stale_after < 1 or min(waits) <= timedelta(0) or self.retry_first > self.retry_most:
            raise TypeError("a pin policy has at least one copy, and waits above 0")


@dataclass(frozen=True, slots=True)
class Pin:
    """A tree in one store."""

    root: str
    store: str
    stage: Stage
    #: when something is to be done about it
    due: datetime
    #: failures since something went well
    tries: int = 0
    error: str | None = None
    pinned_at: datetime | None = None
    #: when every block was last read back
    checked_at: datetime | None = None


def pinned(pin: Pin, now: datetime) -> Pin:
    """Return the pin after the store took it: it is read back at once. Only that ends a row of failures."""
    return replace(pin, stage="pinned", due=now, error=None, pinned_at=now)


def read_back(pin: Pin, now: datetime, policy: PinPolicy) -> Pin:
    """Return the pin after every block was read back."""
    return replace(pin, stage="kept", due=now + policy.check_every, tries=0, error=None, checked_at=now)


def failed(pin: Pin, now: datetime, policy: PinPolicy, error: str, *, gone: bool, wait: float | None = None) -> Pin:
    """Return the pin after a failure. ``gone``: the store does not have it, so it is pinned again; ``wait``: its own wish, in s."""
    tries = pin.tries + 1
    later = backoff(tries, policy) if wait is None else min(max(timedelta(seconds=wait), policy.retry_first), policy.retry_most)
    return replace(pin, stage="wanted" if gone else pin.stage, due=now + later, tries=tries, error=error)


def backoff(tries: int, policy: PinPolicy) -> timedelta:
    """Return the wait after so many failures in a row."""
    return min(policy.retry_first * (1 << min(max(tries - 1, 0), 30)), policy.retry_most)


def counts(pin: Pin, now: datetime, policy: PinPolicy) -> bool:
    """Whether the pin is a copy that one can count on."""
    return pin.stage == "kept" and pin.checked_at is not None and now - pin.checked_at <= policy.check_every * policy.stale_after


def copies(pins: Iterable[Pin], now: datetime, policy: PinPolicy) -> int:
    """Return in how many stores a proof is kept."""
    return len({pin.store for pin in pins if counts(pin, now, policy)})


def is_safe(pins: Iterable[Pin], stores: int, now: datetime, policy: PinPolicy) -> bool:
    """Whether a proof is kept as often as it must be, of the ``stores`` that there are for it."""
    return copies(pins, now, policy) >= max(1, min(policy.copies, stores))
