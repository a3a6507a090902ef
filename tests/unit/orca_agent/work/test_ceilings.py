"""What a run may use of its key's day: never more than is left, whatever was taken before."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.store.ledger import Amounts, Asked, Taken, Terms
from orca_agent.work.ceilings import SCHEDULED_MOST, Allowed, day_of, grant, left_of, refuse_beyond, spent_by
from orca_engine.bounds import ceilings_of
from orca_protocol.budget import Budget, Ceilings, Price
from orca_protocol.errors import InvalidError, LimitError
from orca_protocol.journal import Entry, Path, Stop, entry_for
from orca_protocol.model import Answer, Failure, Message, ModelIdentity, ModelRequest, Usage
from orca_protocol.spec import AgentSpec, SwarmSpec

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
PRICES = {"m": Price(input="2", output="10")}
_COUNTS = st.integers(0, 400) | st.none()
_MONEY = st.decimals(0, 50, places=2) | st.none()
_AMOUNTS = st.builds(Amounts, _COUNTS, _COUNTS, _COUNTS, _MONEY)


#: tokens that the prompt of ``allowed`` is reckoned at: a request, a message, a letter
_READ = 64 + 16 + 1


def _cost(read: int, written: int) -> Decimal:
    return (read * Decimal(PRICES["m"].input) + written * Decimal(PRICES["m"].output)) / 10**6


def allowed(max_tokens: int = 10, loops: int = 5, **budget: Any) -> Allowed:
    """What the engine allows a run of at most ``loops`` calls."""
    agent = AgentSpec(agent_name="A", model_name="m", max_tokens=max_tokens, max_loops=loops)
    spec = SwarmSpec(agents=(agent,), task="T", budget=Budget(**budget) if budget else None)
    return lambda more: ceilings_of(spec, (more,), PRICES)


def terms(**daily: Any) -> Terms:
    return Terms("alice", 2, Amounts(**daily))


def granted_parts(ceilings: Ceilings) -> dict[str, Any]:
    return asdict(Amounts.of(ceilings))


@given(daily=_AMOUNTS, spent=_AMOUNTS, reserved=_AMOUNTS, max_tokens=st.integers(1, 50), loops=st.integers(1, 9))
def test_what_is_granted_is_left_and_no_more_than_the_run_can_use(
    daily: Amounts, spent: Amounts, reserved: Amounts, max_tokens: int, loops: int
) -> None:
    rule, taken = allowed(max_tokens, loops), Taken(spent, reserved)
    try:
        granted = granted_parts(grant(Terms("k", 1, daily), taken, rule, NOON))
    except LimitError:
        left = left_of(daily, taken)
        least = {"calls": 1, "input_tokens": _READ, "output_tokens": max_tokens, "cost": _cost(_READ, max_tokens)}
        assert any(amount is not None and amount < least[axis] for axis, amount in asdict(left).items())
        return
    for axis, ceiling in asdict(daily).items():
        if ceiling is not None:
            taken_already = (asdict(spent)[axis] or 0) + (asdict(reserved)[axis] or 0)
            assert granted[axis] + taken_already <= ceiling
    assert 1 <= granted["calls"] <= loops
    assert max_tokens <= granted["output_tokens"] <= max_tokens * loops


@given(daily=_AMOUNTS, sizes=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), max_size=8))
def test_runs_that_are_stored_one_after_the_other_never_reserve_more_than_the_day(
    daily: Amounts, sizes: list[tuple[int, int]]
) -> None:
    reserved: dict[str, Any] = dict.fromkeys(asdict(daily), 0)
    for size in sizes:
        try:
            granted = grant(Terms("k", 1, daily), Taken(Amounts(), Amounts(**reserved)), allowed(*size), NOON)
        except LimitError:
            continue
        for axis, amount in granted_parts(granted).items():
            reserved[axis] += amount or 0
    assert all(ceiling is None or reserved[axis] <= ceiling for axis, ceiling in asdict(daily).items())


def test_the_least_of_run_type_key_and_budget_counts_for_each_part() -> None:
    key = terms(calls=3, output_tokens=1000, input_tokens=500, cost=Decimal(2))
    taken = Taken(Amounts(cost=Decimal("0.5"), input_tokens=100), Amounts(output_tokens=980))
    found = grant(key, taken, allowed(input_tokens=300), NOON)
    assert (found.calls, found.output_tokens, found.input_tokens, found.cost) == (3, 20, 300, "1.5")
    assert found.prices == PRICES
    assert grant(terms(), Taken(Amounts(), Amounts()), allowed(), NOON) == Ceilings(calls=5, output_tokens=50)


@pytest.mark.parametrize(
    ("spent", "reserved", "max_tokens", "code", "wait"),
    [
        (0, 0, 101, "day_budget_small", None),
        (60, 0, 50, "day_budget_spent", 12 * 3600.0),
        (100, 0, 1, "day_budget_spent", 12 * 3600.0),
        (0, 60, 50, "day_budget_reserved", 10.0),
        (0, 100, 1, "day_budget_reserved", 10.0),
    ],
)
def test_a_refusal_says_whether_waiting_helps_and_how_long(
    spent: int, reserved: int, max_tokens: int, code: str, wait: float | None
) -> None:
    taken = Taken(Amounts(output_tokens=spent), Amounts(output_tokens=reserved))
    with pytest.raises(LimitError) as caught:
        grant(terms(output_tokens=100), taken, allowed(max_tokens), NOON)
    assert (caught.value.code, caught.value.retry_after) == (code, wait)
    assert f"alice may use on 2026-11-24 (UTC), {100 - spent - reserved} of 100 output tokens are left" in caught.value.detail


@pytest.mark.parametrize("part", ["calls", "input_tokens", "output_tokens", "cost"])
def test_of_nothing_that_is_left_nothing_is_granted(part: str) -> None:
    taken = Taken(Amounts(**{part: 100}), Amounts())  # type: ignore[arg-type]
    with pytest.raises(LimitError, match="day_budget_spent"):
        grant(terms(**{part: 100}), taken, allowed(1, 1), NOON)


def test_what_costs_nothing_needs_no_money() -> None:
    spec = SwarmSpec(agents=(AgentSpec(agent_name="A", model_name="m"),), task="T")
    free = {"m": Price(input="0", output="0.00")}
    taken = Taken(Amounts(cost=Decimal(1)), Amounts())
    assert grant(terms(cost=Decimal(1)), taken, lambda more: ceilings_of(spec, (more,), free), NOON).cost == "0"


def test_money_is_reckoned_finer_than_a_budget_says_it_and_never_rounded_up() -> None:
    taken = Taken(Amounts(cost=Decimal("0.000000000000000001")), Amounts())
    assert grant(terms(cost=Decimal(1)), taken, allowed(), NOON).cost == "0.999999999999"


def test_where_money_is_bounded_and_a_price_is_not_known_nothing_is_granted() -> None:
    spec = SwarmSpec(agents=(AgentSpec(agent_name="A", model_name="m"),), task="T")
    with pytest.raises(InvalidError, match="price_unknown"):
        grant(terms(cost=Decimal(1)), Taken(Amounts(), Amounts()), lambda more: ceilings_of(spec, (more,)), NOON)


@given(
    concurrent=st.integers(1, 9), unfinished=st.integers(0, 20), scheduled=st.integers(0, 2 * SCHEDULED_MOST), later=st.booleans()
)
def test_a_key_has_no_more_runs_under_way_than_it_may_and_scheduled_ones_are_counted_apart(
    concurrent: int, unfinished: int, scheduled: int, later: bool
) -> None:
    given_terms = Terms("alice", concurrent, Amounts())
    if scheduled < SCHEDULED_MOST if later else unfinished < concurrent:
        refuse_beyond(given_terms, unfinished, scheduled, is_scheduled=later)
        return
    with pytest.raises(LimitError, match="too_many_runs") as caught:
        refuse_beyond(given_terms, unfinished, scheduled, is_scheduled=later)
    assert caught.value.retry_after


def test_a_day_is_the_one_in_utc() -> None:
    assert str(day_of(NOON)) == "2026-11-24"
    assert str(day_of(NOON + 12 * 3600)) == "2026-11-25"


def entry(outcome: Answer | Failure | Stop) -> Entry:
    request = ModelRequest(model="m", messages=(Message(role="user", content="x" * 40),), max_tokens=50, temperature=0.5, seed=1)
    return entry_for(Path(1, 0, 0), "A", request, "0" * 64, outcome)


def answer(usage: Usage | None) -> Answer:
    return Answer(content="a", finish_reason="stop", model=ModelIdentity(provider="p", model="m"), usage=usage)


def test_what_a_run_used_is_what_was_reported_and_the_most_where_nothing_was() -> None:
    ceilings = Ceilings(calls=9, output_tokens=900, cost="1", prices=PRICES)
    reported = Asked(2, entry(answer(Usage(input_tokens=100, output_tokens=20))))  # asked once more after a crash
    failed, lost = Asked(1, entry(Failure(code="rate_limited", detail="no"))), Asked(1, None)
    found = spent_by([reported, failed, lost, Asked(0, entry(Stop(reason="cancelled")))], ceilings)
    assert found == Amounts(4, 100, 20, Decimal("0.0004"))
    silent = spent_by([Asked(1, entry(answer(None)))], ceilings)
    assert silent.output_tokens == 50
    assert spent_by([Asked(1, entry(Failure(code="timeout", detail="no")))], ceilings) == silent, "it may have been billed"
    assert silent.input_tokens is not None
    assert silent.input_tokens >= 40, "a byte is no less than a token"
    assert spent_by([reported], Ceilings(calls=9, output_tokens=900)) == Amounts(2, 100, 20, None)
    assert spent_by([], ceilings) == Amounts(0, 0, 0, Decimal(0))
