"""Budgets: what a run may use, what it could use at most, and the prices that money is reckoned by.

Money is in US dollars, exact. A budget is what somebody allows: the spec, a key, a node. Ceilings are what a run could use at
most, known before it began and signed in its proof: the least of what its swarm type can use and of every budget that applies.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orca_protocol.model import Amount, Natural, Strict

#: models that one run may have prices for
_PRICES_MAX = 1000


class Budget(Strict):
    """What may be used; what is absent is not bounded."""

    #: requests to models
    calls: Natural | None = None
    input_tokens: Natural | None = None
    output_tokens: Natural | None = None
    #: US dollars
    cost: Amount | None = None
    #: wall time
    seconds: Amount | None = None


class Price(Strict):
    """US dollars for a million tokens."""

    input: Amount
    output: Amount


class Ceilings(Strict):
    """What the run could use at most, known before it began."""

    calls: Natural
    output_tokens: Natural
    #: these only if they were bounded
    input_tokens: Natural | None = None
    cost: Amount | None = None
    seconds: Amount | None = None
    #: by the spec's own model names, if ``cost`` was bounded
    prices: Annotated[dict[str, Price], Field(max_length=_PRICES_MAX)] | None = None
