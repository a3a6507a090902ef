"""What is known of a model besides its name: context, prices, what it reads, its languages, its weights, the memory it needs.

Whatever is not known is None or empty, never guessed. Money is exact: US dollars as ``Decimal``, decimal strings outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Protocol, runtime_checkable

from orca_protocol import budget
from orca_protocol.errors import InvalidError
from orca_protocol.model import Usage

UNIT = "USD per million tokens"

_MILLION = Decimal(1_000_000)
#: enough digits for any price times any usage; a figure beyond them raises instead of being rounded
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])
#: dollars per million tokens; more than that is a listing's mistake, not a price
_DEAREST = Decimal(1_000_000)
#: of a price per million: so that a cost has at most twelve, as amounts in documents have
_DECIMALS = 6


def amount(text: object, *, decimals: int = _DECIMALS) -> Decimal:
    """Return the number that ``text`` writes plainly. Raises InvalidError ``bad_amount`` for anything but a bounded decimal."""
    try:
        if not isinstance(text, str) or len(text) > 40:
            raise InvalidOperation
        value = Decimal(text)
        if not value.is_finite() or not 0 <= value <= _DEAREST or -int(value.normalize(_EXACT).as_tuple().exponent) > decimals:
            raise InvalidOperation
    except InvalidOperation as error:
        raise InvalidError("bad_amount", "a price must be a decimal string from 0 to 1000000") from error
    return value


def scaled(text: object) -> Decimal:
    """Return dollars per token, written plainly, as dollars per million tokens. Raises as ``amount`` does."""
    return amount(plain(_EXACT.multiply(amount(text, decimals=_DECIMALS + 6), _MILLION)))


def plain(value: Decimal) -> str:
    """Return ``value`` as a decimal string: no exponent, no zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") or "0" if "." in text else text


@dataclass(frozen=True, slots=True)
class Tier:
    """What is charged instead, for the whole call, where its prompt is longer than ``above`` tokens."""

    above: int
    input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Bill:
    """What was paid, or would be, in US dollars: exact."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """Both together."""
        return _EXACT.add(self.input, self.output)

    def plus(self, other: Bill) -> Bill:
        """Return both together."""
        return Bill(_EXACT.add(self.input, other.input), _EXACT.add(self.output, other.output))


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, in and out; ``source`` says whose figures and of when."""

    input: Decimal
    output: Decimal
    source: str
    dearer: Tier | None = None

    def bill(self, usage: Usage) -> Bill:
        """Return exactly what one call of ``usage`` costs."""
        rate = self if self.dearer is None or usage.input_tokens <= self.dearer.above else self.dearer
        asked = _EXACT.multiply(rate.input, Decimal(usage.input_tokens))
        said = _EXACT.multiply(rate.output, Decimal(usage.output_tokens))
        return Bill(_EXACT.divide(asked, _MILLION), _EXACT.divide(said, _MILLION))

    def at_most(self) -> budget.Price:
        """Return what a budget reckons with: the dearer rate, where there is one."""
        rate = self if self.dearer is None else self.dearer
        return budget.Price(input=plain(max(self.input, rate.input)), output=plain(max(self.output, rate.output)))

    def document(self) -> dict[str, Any]:
        """Return the JSON form: decimal strings, and what they are."""
        shown = {"input": plain(self.input), "output": plain(self.output), "unit": UNIT, "source": self.source}
        if self.dearer is None:
            return shown
        above = {"tokens": self.dearer.above, "input": plain(self.dearer.input), "output": plain(self.dearer.output)}
        return {**shown, "above": above}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of one model."""

    #: tokens of prompt and answer together
    context: int | None = None
    price: Price | None = None
    #: what it reads: ``text``, ``image``, ``audio``…
    inputs: tuple[str, ...] = ()
    #: BCP 47; ``*``: the vendor names no limit
    languages: tuple[str, ...] = ()
    #: ``sha256:…`` of the weights
    digest: str | None = None
    quantisation: str | None = None
    #: memory of this machine that it takes with a full context; 0 where it runs elsewhere
    memory_bytes: int | None = None

    def or_else(self, other: ModelFacts) -> ModelFacts:
        """Return these facts, and those of ``other`` where nothing is known here."""
        known = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) not in (None, ())}
        return replace(other, **known)

    def document(self) -> dict[str, Any]:
        """Return the JSON form: every field, null where unknown."""
        return {
            "context_length": self.context,
            "price": None if self.price is None else self.price.document(),
            "inputs": list(self.inputs) or None,
            "languages": list(self.languages) or None,
            "weights_digest": self.digest,
            "quantisation": self.quantisation,
            "memory_bytes": self.memory_bytes,
        }


@runtime_checkable
class Informed(Protocol):
    """A provider that knows more of its models than their names."""

    def facts(self, model: str) -> ModelFacts:
        """Return what the provider's own listing, or the weights, say of ``model``; after ``models`` was asked."""


def facts_of(provider: object, model: str) -> ModelFacts:
    """Return what ``provider`` itself knows of ``model``: nothing, if it is none that tells."""
    return provider.facts(model) if isinstance(provider, Informed) else ModelFacts()


def billed(parts: Iterable[Bill | None]) -> Bill | None:
    """Return the exact sum, None as soon as one part is unknown."""
    summed = Bill()
    for part in parts:
        if part is None:
            return None
        summed = summed.plus(part)
    return summed
