"""Which of several API keys of one server a call goes out with: rules alone, without clock, network or the keys themselves.

Each key is *ready* (any number of calls), *cooling* (none), or *due*: its cool-down is over, and one call may try it. What that
call finds decides: accepted, and the key is ready again; refused, and it cools down for longer; if it finds out neither (the
server failed, the call was cancelled), the next call tries. A key that is due is tried first, or it would never come back
while others work. Otherwise the key with the fewest calls in flight takes the next, of equals the one that waited longest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class KeyRule:
    """How long a refused key rests, in seconds, where the server does not say: doubled with each refusal, up to ``cap``."""

    #: after ``rate_limited``
    limited: float = 5.0
    #: after ``unauthorised`` and ``payment_required``: nothing that a call should wait for
    refused: float = 300.0
    cap: float = 3600.0
    #: the longest wish of a server that is believed
    wish_cap: float = 86_400.0

    def seconds(self, reason: str, strikes: int, wish: float | None) -> float:
        """Return how long a key rests that was refused for the ``strikes``-th time in a row."""
        if wish is not None:
            return min(wish, self.wish_cap)
        first = self.limited if reason == "rate_limited" else self.refused
        return min(first * 2.0 ** min(strikes - 1, 64), self.cap)


@dataclass(frozen=True)
class Taken:
    """A key that a call goes out with; to be given back once, by ``accepted``, ``refused`` or ``undecided``."""

    key: int
    is_probe: bool


@dataclass(slots=True)
class _Key:
    in_flight: int = 0
    #: when it was last taken, counted in calls
    last: int = 0
    strikes: int = 0
    #: until when it cools down; None where it is ready
    until: float | None = None
    reason: str = ""
    is_probed: bool = False


class KeyRing:
    """The state of the keys of one server. ``now`` is in seconds of a clock that never runs backwards."""

    def __init__(self, keys: int, rule: KeyRule | None = None) -> None:
        if keys < 1:
            raise ValueError("a key ring holds at least one key")
        self._keys = [_Key() for _ in range(keys)]
        self._rule = rule or KeyRule()
        self._calls = 0

    def take(self, now: float) -> Taken | None:
        """Return the key for the next call, None where every key cools down or is being tried."""
        due = [key for key in self._keys if key.until is not None and key.until <= now and not key.is_probed]
        ready = [key for key in self._keys if key.until is None]
        if not due and not ready:
            return None
        chosen = min(due or ready, key=lambda key: (key.in_flight, key.last))
        self._calls += 1
        chosen.last = self._calls
        chosen.in_flight += 1
        chosen.is_probed = chosen.is_probed or bool(due)
        return Taken(next(place for place, key in enumerate(self._keys) if key is chosen), bool(due))

    def accepted(self, taken: Taken) -> None:
        """The server let the key in. Only the call that tries a key after its rest can end that rest."""
        key = self._given_back(taken)
        if taken.is_probe:
            key.until, key.strikes, key.reason = None, 0, ""

    def refused(self, taken: Taken, reason: str, wish: float | None, now: float) -> None:
        """The server refused the key; ``wish`` is its ``Retry-After``. Calls that were under way with it count as one refusal."""
        key = self._given_back(taken)
        if key.until is not None and not taken.is_probe:
            key.until = max(key.until, now + min(wish or 0.0, self._rule.wish_cap))
            return
        key.strikes += 1
        key.reason = reason
        key.until = now + self._rule.seconds(reason, key.strikes, wish)

    def undecided(self, taken: Taken) -> None:
        """The call ended without finding out whether the key is let in."""
        self._given_back(taken)

    def is_free(self, now: float) -> bool:
        """Whether a call would get a key."""
        return any(key.until is None or (key.until <= now and not key.is_probed) for key in self._keys)

    @property
    def is_probing(self) -> bool:
        """Whether a key is being tried after its rest."""
        return any(key.is_probed for key in self._keys)

    def wait(self, now: float) -> float:
        """Return the seconds until a call gets a key, as far as can be said."""
        return max(0.0, min(0.0 if key.until is None else key.until - now for key in self._keys))

    def resting(self) -> str:
        """Say for a person how many keys rest, and why."""
        reasons = Counter(key.reason for key in self._keys if key.until is not None)
        return ", ".join(f"{count} × {reason}" for reason, count in sorted(reasons.items()))

    def _given_back(self, taken: Taken) -> _Key:
        key = self._keys[taken.key]
        key.in_flight -= 1
        if taken.is_probe:
            key.is_probed = False
        return key
