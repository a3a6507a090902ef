"""The ledger of a run with a budget: what each step may use is reserved when it starts, and settled when it has ended.

A reservation is for the worst case, or what is left of the budget if that is less. Those of one step are made in declared order,
before any of its answers is known, and are settled together when the last of them is closed: so what anybody gets does not depend
on who was quick. Settled is what the providers reported, or the worst case where one reports nothing. Tokens of a prompt are
reckoned from above, for no tokeniser is part of the protocol: a token for each byte, and some for each message and image.
Money is reckoned in whole 10^-18 dollars.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from orca_protocol.budget import Ceilings, Price
from orca_protocol.canonical import canonical
from orca_protocol.journal import Stop
from orca_protocol.model import Answer, Failure, ModelRequest, Usage

_REQUEST_TOKENS = 64
_MESSAGE_TOKENS = 16
#: some providers count an image of 1024 by 1024 pixels as 25,501 tokens, and none says what its most is: twice that
_IMAGE_TOKENS = 50_000
#: what a round of tools is reckoned to add to the prompt, where it cannot be known
_ROUND_TOKENS = 4096

#: failures after which nobody has read the prompt: no connection, refused at the door, or never sent. Any other call may have been
#: read, answered and billed (an answer of reasoning alone, one that was cut off, one that came too late), and counts as its worst
UNREAD = frozenset(
    {
        "bad_request",
        "connect_failed",
        "connect_timeout",
        "context_exceeded",
        "forbidden",
        "keys_resting",
        "logprobs_unsupported",
        "memory_unknown",
        "model_ambiguous",
        "model_does_not_fit",
        "model_load_failed",
        "model_not_installed",
        "model_unavailable",
        "not_found",
        "overloaded",
        "payment_required",
        "rate_limited",
        "redirect_refused",
        "request_too_large",
        "schema_unsupported",
        "tls_failed",
        "too_early",
        "tools_unsupported",
        "unauthorised",
        "vision_unsupported",
        "weights_mismatch",
    }
)

_PER_DOLLAR = 10**18
_PER_DOLLAR_A_MILLION = 10**12


@dataclass(frozen=True, slots=True)
class Amounts:
    """Calls, tokens and money; infinite where there is no bound."""

    calls: float
    input_tokens: float
    output_tokens: float
    cost: float

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(one + two for one, two in zip(self._all, other._all, strict=True)))

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(*(one - two for one, two in zip(self._all, other._all, strict=True)))

    def at_most(self, other: Amounts) -> Amounts:
        """Return the lesser of each."""
        return Amounts(*(min(one, two) for one, two in zip(self._all, other._all, strict=True)))

    def covers(self, other: Amounts) -> bool:
        """Whether no part of ``other`` is more."""
        return all(one >= two for one, two in zip(self._all, other._all, strict=True))

    @property
    def _all(self) -> tuple[float, float, float, float]:
        return self.calls, self.input_tokens, self.output_tokens, self.cost


NOTHING = Amounts(0, 0, 0, 0)


class Allowance:
    """What one step of one agent may use; without a ledger that is everything."""

    def __init__(self, ledger: Ledger | None = None, granted: Amounts = NOTHING) -> None:
        self._ledger = ledger
        self.granted = granted
        self.used = NOTHING
        self.is_closed = False

    def covers(self, request: ModelRequest) -> bool:
        """Whether the worst that ``request`` can use is left."""
        return self._ledger is None or (self.granted - self.used).covers(self._ledger.worst(request))

    def charge(self, request: ModelRequest, outcome: Answer | Failure | Stop) -> None:
        """Note what became of ``request``."""
        if self._ledger is not None:
            self.used += self._ledger.spent(request, outcome)


class Ledger:
    """What is left for a run. Used by one run at a time, from its engine."""

    def __init__(self, ceilings: Ceilings) -> None:
        self._prices = {model: _units(price) for model, price in (ceilings.prices or {}).items()}
        self._left = Amounts(
            ceilings.calls,
            math.inf if ceilings.input_tokens is None else ceilings.input_tokens,
            ceilings.output_tokens,
            math.inf if ceilings.cost is None else int(Decimal(ceilings.cost) * _PER_DOLLAR),
        )
        self._open: list[Allowance] = []

    @contextmanager
    def allowing(self, first: ModelRequest, calls: int) -> Iterator[Allowance]:
        """Reserve for a step of at most ``calls`` calls that begins with ``first``.

        RuntimeError if another one has ended while its siblings have not: then what is left would depend on who was quick.
        """
        if any(allowance.is_closed and allowance.used != NOTHING for allowance in self._open):
            raise RuntimeError("a step of a budgeted run began before the last one had ended")
        reserved = sum((allowance.granted for allowance in self._open), NOTHING)
        allowance = Allowance(self, self._worst_of(first, calls).at_most(self._left - reserved))
        self._open.append(allowance)
        try:
            yield allowance
        finally:
            allowance.is_closed = True
            if all(each.is_closed for each in self._open):
                self._left -= sum((each.used for each in self._open), NOTHING)
                self._open.clear()

    def worst(self, request: ModelRequest) -> Amounts:
        """Return the most that ``request`` can use."""
        return self._amounts(request.model, 1, prompt_tokens_at_most(request), request.max_tokens)

    def spent(self, request: ModelRequest, outcome: Answer | Failure | Stop) -> Amounts:
        """Return what ``request`` used: the provider's figures, or the worst where it gives none. A stop ends the run anyway."""
        match outcome:
            case Answer(usage=Usage(input_tokens=read, output_tokens=written)):
                return self._amounts(request.model, 1, read, written)
            case Failure(code=code) if code in UNREAD:
                return Amounts(1, 0, 0, 0)
            case Answer() | Failure():
                return self.worst(request)
            case Stop():
                return Amounts(1, 0, 0, 0)

    def _worst_of(self, first: ModelRequest, calls: int) -> Amounts:
        growth = (calls - 1) * (first.max_tokens + _ROUND_TOKENS)
        return self._amounts(first.model, calls, calls * (prompt_tokens_at_most(first) + growth), calls * first.max_tokens)

    def _amounts(self, model: str, calls: int, read: int, written: int) -> Amounts:
        of_input, of_output = self._prices.get(model, (0, 0))
        return Amounts(calls, read, written, read * of_input + written * of_output)


def prompt_tokens_at_most(request: ModelRequest) -> int:
    """Return more tokens than the prompt of ``request`` can have."""
    tokens = _REQUEST_TOKENS
    for message in request.messages:
        tokens += _MESSAGE_TOKENS + len(message.content.encode(errors="surrogatepass"))
        tokens += _IMAGE_TOKENS * len(message.images or ())
        tokens += sum(_MESSAGE_TOKENS + len(call.arguments) * 4 + len(call.name) for call in message.tool_calls or ())
    for tool in request.tools or ():
        tokens += _MESSAGE_TOKENS + len(canonical(tool.document()))
    return tokens + (0 if request.response_schema is None else len(canonical(request.response_schema)))


def in_dollars(amounts: Amounts) -> Decimal:
    """Return the money of ``amounts``, which is bounded."""
    return Decimal(int(amounts.cost)).scaleb(-18)


def _units(price: Price) -> tuple[int, int]:
    return int(Decimal(price.input) * _PER_DOLLAR_A_MILLION), int(Decimal(price.output) * _PER_DOLLAR_A_MILLION)
