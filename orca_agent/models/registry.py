"""Which provider answers for which name: an exact name, the operator's alias, or a refusal that lists what there is.

A name is never silently replaced: an alias is an explicit rule, one hop long, and the resolution says that it was used. A
provider that cannot list its models is named in every refusal and in ``status``. Listings are fetched once, all at the same
time, under one time cap; those that failed are asked again when a name is not found, for a server may have come up since.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from orca_agent.models.base import Keyed, Provider
from orca_agent.models.facts import Bill, ModelFacts, billed, facts_of
from orca_protocol import budget
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity

_SHOWN = 20
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")
#: what a provider says that was asked and has nothing: waiting installs nothing
_ANSWERS = frozenset({"model_not_installed"})
#: until a name is asked for again that may be one of a server which does not answer: some load weights for minutes before they do
_COMES_UP_SECONDS = 30.0
_GIB = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Resolution:
    """What a name stands for."""

    name: str
    provider: Provider
    #: what to ask ``provider`` for
    model: str
    #: the alias that led here, if one did; always equal to ``name`` then
    alias: str | None = None


@dataclass(frozen=True)
class CatalogueRow:
    """One line of ``orca models``."""

    name: str
    provider: str
    reachable: bool
    detail: str
    facts: ModelFacts = field(default_factory=ModelFacts)

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        shown = {"name": self.name, "provider": self.provider, "reachable": self.reachable, "detail": self.detail}
        return {**shown, **self.facts.document()}

    def suits(self, language: str | None, vram_bytes: int | None) -> bool:
        """Whether it is known to speak ``language`` (BCP 47) and to need at most ``vram_bytes`` of this machine."""
        speaks = language is None or any(_covers(known, language) for known in self.facts.languages)
        needs = self.facts.memory_bytes
        return speaks and (vram_bytes is None or (needs is not None and needs <= vram_bytes))


def read_filter(query: Mapping[str, str]) -> tuple[str | None, int | None]:
    """Return ``language`` and ``min_vram`` (GiB outside, bytes here) of a query string. Raises InvalidError ``bad_filter``."""
    language, vram = query.get("language"), query.get("min_vram")
    if language is not None and not _LANGUAGE.fullmatch(language):
        raise InvalidError("bad_filter", "language is a tag of BCP 47, as en or de-AT")
    if vram is not None and not _GIB.fullmatch(vram):
        raise InvalidError("bad_filter", "min_vram is a number of GiB, as 8 or 0.5")
    return language, None if vram is None else int(Decimal(vram) * 2**30)


class Registry:
    """All models of one node."""

    def __init__(self, providers: Sequence[Provider], aliases: Mapping[str, str], *, listing_seconds: float = 10.0) -> None:
        """Raises InvalidError ``bad_alias`` for a chain, a loop or an empty name, ``duplicate_provider`` for a label used twice."""
        labels = [provider.name for provider in providers]
        if len(set(labels)) != len(labels):
            raise InvalidError("duplicate_provider", f"each provider needs its own name; given: {', '.join(labels)}")
        for alias, target in aliases.items():
            if not alias or not target or target in aliases:
                raise InvalidError("bad_alias", f"alias {alias!r} → {target!r}: an alias points to a real name, not to an alias")
        self._providers = tuple(providers)
        self._aliases = dict(aliases)
        self._listing_seconds = listing_seconds
        self._listings: dict[str, tuple[str, ...] | OrcaError] = {}
        self._fetching: asyncio.Task[None] | None = None

    async def resolve(self, name: str) -> Resolution:
        """Return what ``name`` stands for; ``provider/name`` is understood too, and settles a name that two providers have.

        Raises InvalidError ``model_ambiguous``, and ``model_unavailable``: InvalidError where every provider answered, else
        UnavailableError, which names those that could not be asked, for the name may be theirs.
        """
        if not self._listings:
            await self._fetch()
        found = self._lookup(name)
        if found is None and any(isinstance(listing, OrcaError) for listing in self._listings.values()):
            await self._fetch(again=True)
            found = self._lookup(name)
        if found is None:
            raise self._unavailable(name)
        return found

    async def status(self) -> Mapping[str, str | None]:
        """Return for each provider what is wrong with it, None where nothing is."""
        await self._fetch()
        return {
            label: f"{found.code}: {found.detail}" if isinstance(found, OrcaError) else None
            for label, found in self._listings.items()
        }

    async def keys(self) -> Mapping[str, tuple[str | None, ...]]:
        """Return for each provider with several keys what is wrong with each of them, None where nothing is."""
        ringed = [provider for provider in self._providers if isinstance(provider, Keyed)]
        found = await asyncio.gather(*(provider.examined() for provider in ringed))
        return {
            provider.name: tuple(None if error is None else f"{error.code}: {error.detail}" for error in errors)
            for provider, errors in zip(ringed, found, strict=True)
        }

    async def catalogue(self, *, language: str | None = None, min_vram: int | None = None) -> tuple[CatalogueRow, ...]:
        """Return a row per model, per provider that could not say (named ``*``), and per alias.

        With ``language`` or ``min_vram`` (bytes that are to be had) only the rows that are known to suit: a filter promises.
        """
        await self._fetch()
        rows: list[CatalogueRow] = []
        for provider in self._providers:
            found = self._listings[provider.name]
            if isinstance(found, OrcaError):
                rows.append(CatalogueRow("*", provider.name, False, f"{found.code}: {found.detail}"))
            else:
                rows += [CatalogueRow(name, provider.name, True, "", facts_of(provider, name)) for name in found]
        rows += [self._alias_row(alias, target) for alias, target in self._aliases.items()]
        if language is None and min_vram is None:
            return tuple(rows)
        return tuple(row for row in rows if row.suits(language, min_vram))

    def facts(self, answered: ModelIdentity) -> ModelFacts:
        """Return what is known of a model that answered: nothing, where its provider is not configured any more."""
        provider = next((provider for provider in self._providers if provider.name == answered.provider), None)
        return ModelFacts() if provider is None else facts_of(provider, answered.model)

    async def bill(self, answers: Iterable[Answer]) -> Bill | None:
        """Return what ``answers`` cost by today's prices, in US dollars, exact; None as soon as one usage or price is unknown."""
        if not self._listings:
            await self._fetch()
        return billed(self._bill(answer) for answer in answers)

    async def prices(self, names: Iterable[str]) -> dict[str, budget.Price | None]:
        """Return for each name in a spec what its model costs at most, None where that is unknown. Raises as ``resolve`` does."""
        found = {name: await self.resolve(name) for name in names}
        prices = {name: facts_of(resolved.provider, resolved.model).price for name, resolved in found.items()}
        return {name: None if price is None else price.at_most() for name, price in prices.items()}

    async def known_prices(self, names: Iterable[str]) -> dict[str, budget.Price]:
        """Return those prices that are known. Raises as ``resolve`` does."""
        return {name: price for name, price in (await self.prices(names)).items() if price is not None}

    def cost(self, answer: Answer) -> Decimal | None:
        """Return what one answer cost by the prices that are known now, in US dollars."""
        bill = self._bill(answer)
        return None if bill is None else bill.total

    def _bill(self, answer: Answer) -> Bill | None:
        price = self.facts(answer.model).price
        return None if price is None or answer.usage is None else price.bill(answer.usage)

    async def close(self) -> None:
        """Close every provider."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        for provider in self._providers:
            await provider.close()

    def _alias_row(self, alias: str, target: str) -> CatalogueRow:
        if self._owners(alias):
            return CatalogueRow(alias, "alias", False, f"→ {target}, never used: a provider has a model of that very name")
        try:
            found = self._lookup(target)
        except InvalidError as error:
            return CatalogueRow(alias, "alias", False, f"→ {target}: {error.code}")
        if found is None:
            return CatalogueRow(alias, "alias", False, f"→ {target}")
        return CatalogueRow(alias, found.provider.name, True, f"→ {target}", facts_of(found.provider, found.model))

    def _lookup(self, name: str) -> Resolution | None:
        exact = self._exact(name)
        if exact is not None or name not in self._aliases:
            return exact
        target = self._exact(self._aliases[name])
        return None if target is None else Resolution(name, target.provider, target.model, alias=name)

    def _exact(self, name: str) -> Resolution | None:
        owners = self._owners(name)
        if len(owners) > 1:
            forms = " or ".join(f"{provider.name}/{model}" for provider, model in owners)
            raise InvalidError("model_ambiguous", f"several providers have {name!r}: say {forms}")
        return Resolution(name, *owners[0]) if owners else None

    def _owners(self, name: str) -> list[tuple[Provider, str]]:
        bare = [(provider, name) for provider in self._providers if name in self._names(provider)]
        if bare:
            return bare
        label, _, model = name.partition("/")
        return [(provider, model) for provider in self._providers if provider.name == label and model in self._names(provider)]

    def _names(self, provider: Provider) -> tuple[str, ...]:
        found = self._listings.get(provider.name, ())
        return () if isinstance(found, OrcaError) else found

    def _unavailable(self, name: str) -> OrcaError:
        names = [*self._aliases, *(model for provider in self._providers for model in self._names(provider))]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        there = f"there are: {', '.join(names[:_SHOWN]) or 'none'}{more}"
        silent = [
            f"{label} ({found.code}: {found.detail})" for label, found in self._listings.items() if isinstance(found, OrcaError)
        ]
        told = f"; not listed, because they could not be asked: {'; '.join(silent)}" if silent else ""
        via = f" (alias of {self._aliases[name]!r})" if name in self._aliases else ""
        detail = f"no model is called {name[:200]!r}{via}; {there}{told}"
        if all(listing.code in _ANSWERS for listing in self._listings.values() if isinstance(listing, OrcaError)):
            return InvalidError("model_unavailable", detail)
        return UnavailableError("model_unavailable", detail, retry_after=_COMES_UP_SECONDS)

    async def _fetch(self, *, again: bool = False) -> None:
        """Many callers, one fetch: whoever comes while it runs waits for it; a cancelled caller does not cancel it."""
        if self._fetching is None or (again and self._fetching.done()):
            self._fetching = asyncio.create_task(self._fetch_missing())
        await asyncio.shield(self._fetching)

    async def _fetch_missing(self) -> None:
        missing = [provider for provider in self._providers if not isinstance(self._listings.get(provider.name), tuple)]
        found = await asyncio.gather(*(self._listing(provider) for provider in missing))
        fresh = {provider.name: listing for provider, listing in zip(missing, found, strict=True)}
        self._listings = {
            provider.name: fresh.get(provider.name, self._listings.get(provider.name, ())) for provider in self._providers
        }

    async def _listing(self, provider: Provider) -> tuple[str, ...] | OrcaError:
        try:
            async with asyncio.timeout(self._listing_seconds):
                return await provider.models()
        except TimeoutError:
            return UnavailableError("timeout", f"it did not list its models within {self._listing_seconds:g} s")
        except OrcaError as error:
            return error


def _covers(known: str, wanted: str) -> bool:
    """Whether a model that speaks ``known`` speaks ``wanted``: ``en`` covers ``en-GB``, ``*`` everything (RFC 4647 §3.3.1)."""
    known, wanted = known.lower(), wanted.lower()
    return known in ("*", wanted) or wanted.startswith(f"{known}-") or known.startswith(f"{wanted}-")
