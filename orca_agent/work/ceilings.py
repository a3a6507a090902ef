"""Decides what a run of a key may use of the day, and counts what it used. Pure: the queue carries it out.

A run reserves its ceilings when it is stored: the least of what its type can use, its own budget, the node's, and what its key
has left of the day. The engine holds it to them. At its end it gives back what it did not use. Where nothing but the key bounds
something, one run reserves all that is left, and others wait for its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from orca_agent.store.ledger import Amounts, Asked, Taken, Terms
from orca_engine.ledger import NOTHING, Ledger, in_dollars
from orca_protocol.budget import Budget, Ceilings
from orca_protocol.errors import InvalidError, LimitError
from orca_protocol.journal import Entry, Stop
from orca_protocol.model import Answer, Failure, ModelRequest

_AXES = tuple(field.name for field in fields(Amounts))
_WORDS = {"calls": "model calls", "input_tokens": "input tokens", "output_tokens": "output tokens", "cost": "US dollars"}
#: runs of one key that may wait for their moment
SCHEDULED_MOST = 100
#: what is only reserved may be given back any moment
_SOON = 10.0
#: a budget in which nothing can be done
_TOO_SMALL = "budget_too_small"

#: what a run may use within one more budget; raises InvalidError ``budget_too_small`` where nothing can be done
Allowed = Callable[[Budget], Ceilings]


def day_of(at: float) -> date:
    """Return the day that a run of this moment (Unix seconds) counts in: the one in UTC."""
    return datetime.fromtimestamp(at, UTC).date()


def refuse_beyond(terms: Terms, unfinished: int, scheduled: int, *, is_scheduled: bool) -> None:
    """Raise LimitError ``too_many_runs`` where a key has as many runs under way as it may, or as many scheduled.

    What waits for its moment takes no room from what is to be done now.
    """
    if is_scheduled and scheduled >= SCHEDULED_MOST:
        said = f"{SCHEDULED_MOST} runs of the key {terms.name} are scheduled; wait until some have begun, or cancel some"
        raise LimitError("too_many_runs", said, retry_after=_SOON)
    if not is_scheduled and unfinished >= terms.concurrent:
        said = f"{terms.concurrent} runs of the key {terms.name} have not ended; wait until some have, or cancel some"
        raise LimitError("too_many_runs", said, retry_after=_SOON)


def grant(terms: Terms, taken: Taken, allowed: Allowed, at: float) -> Ceilings:
    """Return what a run may use, which is no more than its key has left of the day.

    Raises LimitError ``day_budget_small`` (it fits on no day), ``day_budget_spent`` (come again tomorrow),
    ``day_budget_reserved`` (come again when other runs have ended), and what ``allowed`` raises.
    """
    left = left_of(terms.daily, taken)
    found = _within(allowed, left)
    if found is not None:
        return found
    said = f"of what the key {terms.name} may use on {day_of(at)} (UTC), {_told(left, terms.daily)}"
    if _within(allowed, terms.daily) is None:
        raise LimitError("day_budget_small", f"{said}; nothing of this run fits into any day: make it smaller")
    if _within(allowed, left_of(terms.daily, Taken(taken.spent, Amounts()))) is None:
        raise LimitError("day_budget_spent", f"{said}; come again tomorrow", retry_after=_until_tomorrow(at))
    raise LimitError("day_budget_reserved", f"{said}; others are reserved by runs that have not ended", retry_after=_SOON)


def left_of(daily: Amounts, taken: Taken) -> Amounts:
    """Return what is left of a day; nothing is less than nothing."""

    def left(axis: str) -> Any:
        ceiling = getattr(daily, axis)
        if ceiling is None:
            return None
        return max(0, ceiling - (getattr(taken.spent, axis) or 0) - (getattr(taken.reserved, axis) or 0))

    return Amounts(**{axis: left(axis) for axis in _AXES})


def spent_by(asked: Iterable[Asked], ceilings: Ceilings) -> Amounts:
    """Return what a run used, as the engine's own ledger reckons it.

    Each asking of a model counts as a call, also one whose answer was lost. Money is known where it was bounded: only then a run
    has prices.
    """
    ledger, used, calls = Ledger(ceilings), NOTHING, 0
    for one in asked:
        if one.entry is None:
            calls += one.times
        elif isinstance(one.entry.request, ModelRequest):
            calls += one.times
            used += ledger.spent(one.entry.request, _outcome(one.entry))
    cost = None if ceilings.cost is None else in_dollars(used)
    return Amounts(calls, int(used.input_tokens), int(used.output_tokens), cost)


def _within(allowed: Allowed, amounts: Amounts) -> Ceilings | None:
    """Return what a run may use within ``amounts``; None if nothing of it can be done."""
    try:
        ceilings = allowed(amounts.budget())
    except InvalidError as error:
        if error.code != _TOO_SMALL:
            raise
        return None
    is_free = all(Decimal(price.input) == Decimal(price.output) == 0 for price in (ceilings.prices or {}).values())
    return None if amounts.cost == 0 and not is_free else ceilings


def _told(left: Amounts, daily: Amounts) -> str:
    limits = [(axis, getattr(daily, axis)) for axis in _AXES if getattr(daily, axis) is not None]
    return ", ".join(f"{getattr(left, axis)} of {limit} {_WORDS[axis]} are left" for axis, limit in limits)


def _until_tomorrow(at: float) -> float:
    midnight = datetime.combine(day_of(at) + timedelta(days=1), time(), UTC)
    return midnight.timestamp() - at


def _outcome(entry: Entry) -> Answer | Failure | Stop:
    outcome = entry.outcome
    if not isinstance(outcome, Answer | Failure | Stop):
        raise TypeError("a model is answered by an answer, an error or a stop")
    return outcome
