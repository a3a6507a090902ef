"""What is known of a model, and what a call costs: exact, or unknown."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.facts import Bill, ModelFacts, Price, Tier, amount, billed, plain, scaled
from orca_agent.models.prices import _rows, listed_facts
from orca_protocol.budget import Budget
from orca_protocol.errors import InvalidError
from orca_protocol.model import Usage

amounts = st.decimals(0, 1_000_000, places=6).map(plain)
tokens = st.integers(0, 10_000_000_000)


def price(asked: str, said: str, dearer: Tier | None = None) -> Price:
    return Price(amount(asked), amount(said), "a test", dearer)


@given(amounts, amounts, tokens, tokens)
def test_a_cost_is_exact_to_the_last_digit(asked: str, said: str, tokens_in: int, tokens_out: int) -> None:
    bill = price(asked, said).bill(Usage(input_tokens=tokens_in, output_tokens=tokens_out))
    cost = bill.total
    assert (Fraction(bill.input), Fraction(bill.output)) == (
        Fraction(asked) * tokens_in / 1_000_000,
        Fraction(said) * tokens_out / 1_000_000,
    )
    assert Fraction(cost) == (Fraction(asked) * tokens_in + Fraction(said) * tokens_out) / 1_000_000
    assert Budget(cost=plain(cost)).cost == plain(cost)


def test_the_example_of_a_price_list() -> None:
    assert plain(price("2.50", "10.00").bill(Usage(input_tokens=1200, output_tokens=345)).total) == "0.00645"


@pytest.mark.parametrize(("asked", "cost"), [(100, "0.0001"), (101, "0.000202")])
def test_a_long_prompt_is_charged_at_the_dearer_rate_as_a_whole(asked: int, cost: str) -> None:
    tiered = price("1", "1", Tier(100, Decimal(2), Decimal(3)))
    assert plain(tiered.bill(Usage(input_tokens=asked, output_tokens=0)).total) == cost


@given(st.lists(st.none() | st.decimals(0, 1000, places=12), max_size=8))
def test_a_sum_is_exact_or_unknown(costs: list[Decimal | None]) -> None:
    summed = billed(None if cost is None else Bill(input=cost) for cost in costs)
    if None in costs:
        assert summed is None
    else:
        assert summed is not None
        assert Fraction(summed.total) == sum((Fraction(cost) for cost in costs if cost is not None), Fraction(0))


@pytest.mark.parametrize(
    "text", ["", "-1", "NaN", "Infinity", "1e400", "x", "1000001", "0.0000001", "9" * 41, None, 1, 0.5, True, []]
)
def test_what_is_no_amount(text: Any) -> None:
    with pytest.raises(InvalidError, match="bad_amount"):
        amount(text)


def test_dollars_per_token_are_dollars_per_million() -> None:
    assert [plain(scaled(text)) for text in ("0.0000002", "0", "0.000002500", "2e-7")] == ["0.2", "0", "2.5", "0.2"]


def test_amounts_are_written_plainly() -> None:
    assert [plain(Decimal(text)) for text in ("0.10", "1E+3", "1E-7", "0.000", "10")] == ["0.1", "1000", "0.0000001", "0", "10"]


def test_what_is_known_is_kept_and_the_rest_filled_in() -> None:
    known, other = ModelFacts(context=8, memory_bytes=0), ModelFacts(context=9, memory_bytes=5, inputs=("text",))
    assert known.or_else(other) == ModelFacts(context=8, memory_bytes=0, inputs=("text",))


def test_unknown_is_null_and_never_left_out() -> None:
    assert set(ModelFacts().document().values()) == {None}
    shown = ModelFacts(price=price("0.15", "0.60", Tier(9, Decimal(1), Decimal(2)))).document()["price"]
    unit = "USD per million tokens"
    assert shown == {
        "input": "0.15",
        "output": "0.6",
        "unit": unit,
        "source": "a test",
        "above": {"tokens": 9, "input": "1", "output": "2"},
    }


def test_the_table_is_dated_sourced_and_readable() -> None:
    rows = _rows()
    assert len(rows) > 50
    facts = listed_facts("openai", "gpt-4o-mini")
    assert facts.price is not None
    assert (plain(facts.price.input), plain(facts.price.output)) == ("0.15", "0.6")
    assert "as of 2026-" in facts.price.source
    assert (facts.context, facts.inputs) == (128_000, ("text", "image"))
    assert all(found.price is not None and found.price.output >= found.price.input for found in rows.values())


def test_a_snapshot_that_the_table_does_not_name_costs_what_its_plain_name_does() -> None:
    assert listed_facts("openai", "gpt-4o-2031-01-01") == listed_facts("openai", "gpt-4o")
    assert listed_facts("anthropic", "claude-haiku-4-5-20991231") == listed_facts("anthropic", "claude-haiku-4-5")
    assert listed_facts("openai", "gpt-4o-2024-05-13").price != listed_facts("openai", "gpt-4o").price


def test_a_model_that_the_table_does_not_name_has_no_price() -> None:
    assert listed_facts("openai", "gpt-99").price is None
    assert listed_facts("anthropic", "gpt-4o").price is None
