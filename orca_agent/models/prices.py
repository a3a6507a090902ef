"""What hosted models cost by the vendors' own lists: a dated table in this package, read when a price is first asked for.

``scripts/prices`` writes the table anew. It holds list prices: what a vendor takes off by itself, as for a prompt it has seen
before, is not known here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from orca_agent.models.facts import ModelFacts, Price, Tier, amount

Vendor = Literal["anthropic", "openai"]

#: what vendors put behind a model's name for the snapshot of a day
_SNAPSHOT = re.compile(r"-([0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})$")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    class Above(BaseModel):
        """What is charged for the whole call where its prompt is longer than ``tokens``."""

        tokens: int
        input: str
        output: str

    provider: Vendor
    model: str
    input: str
    output: str
    inputs: tuple[str, ...]
    context: int | None = None
    above: Above | None = None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    as_of: str
    source: str
    vendors: dict[Vendor, str]
    unit: Literal["USD per million tokens"]
    models: tuple[_Row, ...]


def listed_facts(vendor: Vendor, model: str) -> ModelFacts:
    """Return what the table says of ``model``; a snapshot that it does not name has the price of the plain name."""
    rows = _rows()
    found = rows.get((vendor, model)) or rows.get((vendor, _SNAPSHOT.sub("", model)))
    # Both vendors say that their models are multilingual, and name no language that they refuse.
    return ModelFacts(languages=("*",), memory_bytes=0) if found is None else found


@cache
def _rows() -> dict[tuple[Vendor, str], ModelFacts]:
    text = files("orca_agent.models").joinpath("prices.json").read_text()
    table = _Table.model_validate_json(text)
    return {(row.provider, row.model): _facts(row, f"{table.source}, as of {table.as_of}") for row in table.models}


def _facts(row: _Row, source: str) -> ModelFacts:
    price = Price(amount(row.input), amount(row.output), source)
    if row.above is not None:
        price = replace(price, dearer=Tier(row.above.tokens, amount(row.above.input), amount(row.above.output)))
    return ModelFacts(context=row.context, price=price, inputs=row.inputs, languages=("*",), memory_bytes=0)
