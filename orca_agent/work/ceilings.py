"""Decides what a run of a key may use of the day, and counts what it used. Pure: the queue carries it out.

A run reserves its worst case when it is stored and gives back at its end what it did not use. Where nothing bounds a run but
the key, it reserves all that the day leaves: others wait for its end, and no two runs together go beyond.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from orca_agent.store.ledger import Amounts, Asked, Taken, Terms
from orca_protocol.errors import LimitError

_AXES = tuple(field.name for field in fields(Amounts))
_WORDS = {"calls": "model calls", "input_tokens": "input tokens", "output_tokens": "output tokens", "cost": "money"}
#: what is only reserved may be given back any moment
_SOON = 10.0


def day_of(at: float) -> date:
    """Return the day that a run of this moment (Unix seconds) counts in: the one in UTC."""
    return datetime.fromtimestamp(at, UTC).date()


def least(*amounts: Amounts) -> Amounts:
    """Return the strictest of several bounds, each part for itself."""
    return Amounts(**{axis: min((one for one in _parts(amounts, axis) if one is not None), default=None) for axis in _AXES})


def refuse_beyond(terms: Terms, unfinished: int) -> None:
    """Raise LimitError ``too_many_runs`` where a key has as many runs under way as it may."""
    if unfinished >= terms.concurrent:
        said = f"{terms.concurrent} runs of key {terms.name} have not ended; wait until some have, or cancel some"
        raise LimitError("too_many_runs", said, retry_after=_SOON)


def grant(terms: Terms, taken: Taken, wanted: Amounts, at: float) -> Amounts:
    """Return what a run that may use ``wanted`` is granted of the day: so much, or what is left.

    Raises LimitError ``day_budget_spent`` (come again tomorrow), ``day_budget_reserved`` (come again when other runs ended).
    """
    for axis in _AXES:
        ceiling, spent, reserved = (getattr(one, axis) or 0 for one in (terms.daily, taken.spent, taken.reserved))
        if getattr(terms.daily, axis) is None or spent + reserved < ceiling:
            continue
        said = f"the {ceiling} of {_WORDS[axis]} that key {terms.name} may use on {day_of(at)} (UTC)"
        if spent >= ceiling:
            raise LimitError("day_budget_spent", f"{said} are used", retry_after=_until_tomorrow(at))
        raise LimitError(
            "day_budget_reserved", f"{said} are used, or reserved by runs that go on; wait for their end", retry_after=_SOON
        )
    return least(wanted, left_of(terms.daily, taken))


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


def _parts(amounts: Iterable[Amounts], axis: str) -> list[int | Decimal | None]:
    return [getattr(one, axis) for one in amounts]


def _until_tomorrow(at: float) -> float:
    midnight = datetime.combine(day_of(at) + timedelta(days=1), time(), UTC)
    return midnight.timestamp() - at
