"""Decides what a run of a key may use of the day, and counts what it used. Pure: the queue carries it out.

A run reserves its worst case when it is stored and gives back at its end what it did not use. What only its end tells (input
tokens, money) is reserved as a whole: where the key bounds it, other runs wait for that end. So what a day allows is exceeded
by one run at most, and never in what is known before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from orca_agent.store.ledger import Amounts, Asked, Taken, Terms
from orca_protocol.errors import LimitError

_AXES = tuple(field.name for field in fields(Amounts))
_WORDS = {"calls": "model calls", "input_tokens": "input tokens", "output_tokens": "output tokens", "cost": "US dollars"}
#: what is only reserved may be given back any moment
_SOON = 10.0


def day_of(at: float) -> date:
    """Return the day that a run of this moment (Unix seconds) counts in: the one in UTC."""
    return datetime.fromtimestamp(at, UTC).date()


def refuse_beyond(terms: Terms, unfinished: int) -> None:
    """Raise LimitError ``too_many_runs`` where a key has as many runs under way as it may."""
    if unfinished >= terms.concurrent:
        said = f"{terms.concurrent} runs of the key {terms.name} have not ended; wait until some have, or cancel some"
        raise LimitError("too_many_runs", said, retry_after=_SOON)


def grant(terms: Terms, taken: Taken, wanted: Amounts, at: float) -> Amounts:
    """Return what a run that uses ``wanted`` at most may use of the day: so much, or all that is left where nothing bounds it.

    Raises LimitError ``day_budget_small`` (it never fits), ``day_budget_spent`` (come again tomorrow), ``day_budget_reserved``
    (come again when other runs have ended).
    """
    left = left_of(terms.daily, taken)
    granted: dict[str, Any] = {}
    for axis in _AXES:
        ceiling, spent, need = (getattr(one, axis) for one in (terms.daily, taken.spent, wanted))
        granted[axis] = need
        if ceiling is None:
            continue
        least = 0 if need is None else need
        granted[axis] = getattr(left, axis) if need is None else need
        if getattr(left, axis) >= least and getattr(left, axis) > 0:
            continue
        words = _WORDS[axis]
        if least > ceiling:
            said = f"the run may use up to {need} {words}, the key {terms.name} {ceiling} a day: make the run smaller"
            raise LimitError("day_budget_small", said)
        said = f"{getattr(left, axis)} of the {ceiling} {words} that the key {terms.name} has on {day_of(at)} (UTC) are left"
        said += "" if need is None else f"; the run may use up to {need}"
        if spent is not None and (spent >= ceiling or spent + least > ceiling):
            raise LimitError("day_budget_spent", f"{said}. They are used; come again tomorrow", retry_after=_until_tomorrow(at))
        raise LimitError("day_budget_reserved", f"{said}. Others are reserved by runs that have not ended", retry_after=_SOON)
    return Amounts(**granted)


def left_of(daily: Amounts, taken: Taken) -> Amounts:
    """Return what is left of a day; nothing is less than nothing."""

    def left(axis: str) -> Any:
        ceiling = getattr(daily, axis)
        if ceiling is None:
            return None
        return max(0, ceiling - (getattr(taken.spent, axis) or 0) - (getattr(taken.reserved, axis) or 0))

    return Amounts(**{axis: left(axis) for axis in _AXES})


def spent_by(asked: Iterable[Asked], reserved: Amounts) -> Amounts:
    """Return what a run used.

    Every asking counts as a call, also one whose answer was lost with its process. An answer without a report of its tokens
    counts as the most it can have been: a byte is no less than a token. A price that is not known counts as reserved.
    """
    calls = inputs = outputs = 0
    for one in asked:
        calls += one.times
        if one.usage is not None:
            inputs += one.usage[0]
            outputs += one.usage[1]
        elif one.is_answered:
            inputs += one.input_bytes or 0
            outputs += one.max_tokens or 0
    return Amounts(calls, inputs, outputs, reserved.cost)


def _until_tomorrow(at: float) -> float:
    midnight = datetime.combine(day_of(at) + timedelta(days=1), time(), UTC)
    return midnight.timestamp() - at
