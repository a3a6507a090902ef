"""One server, several API keys: a provider made of one provider per key, of which each call takes one.

It asks once, as every provider does. A key that the server refuses (401, 402, 429) rests, and the call's next try, which
``retry.py`` makes, goes out with another; ``keys.py`` has the rules. Calls that find every key at rest fail with the time to
wait and the reasons; where one key is being tried just then, they wait for what it finds instead of failing one after another.
Keys are known here by their place alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Unpack

from orca_agent.models import Given, hosted
from orca_agent.models.base import NO_IMAGES, Deltas, Images, Provider
from orca_agent.models.facts import ModelFacts, facts_of
from orca_agent.models.keys import KeyRing, KeyRule, Taken
from orca_agent.models.openai import OpenAIProvider
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelRequest

if TYPE_CHECKING:
    from pydantic import SecretStr

    from orca_agent.models.http import HttpClient

#: where OpenRouter says what it knows of the key that it is asked with
_ABOUT_KEY = "/key"
#: what a server says of a key rather than of a request
_OF_THE_KEY = frozenset({"unauthorised", "payment_required", "rate_limited"})


class RingProvider:
    """The provider port over several keys of one server. ``listing`` answers for what needs no key."""

    def __init__(
        self,
        listing: Provider,
        keyed: Sequence[Provider],
        *,
        rule: KeyRule | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._listing = listing
        self._keyed = tuple(keyed)
        self._ring = KeyRing(len(self._keyed), rule)
        self._clock = clock
        self._tried = asyncio.Event()

    @property
    def name(self) -> str:
        """The label of the server."""
        return self._listing.name

    async def models(self) -> tuple[str, ...]:
        """Return what the server lists."""
        return await self._listing.models()

    def facts(self, model: str) -> ModelFacts:
        """Return what the server's listing said of ``model``."""
        return facts_of(self._listing, model)

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        """Ask once, with one key; see the port. Raises UnavailableError ``keys_resting`` where there is none to ask with."""
        taken = await self._take()
        try:
            answer = await self._keyed[taken.key].complete(model, request, on_delta, images)
        except OrcaError as error:
            raise self._judged(taken, error) from error
        except BaseException:
            self._ring.undecided(taken)
            raise
        else:
            self._ring.accepted(taken)
            return answer
        finally:
            if taken.is_probe:
                self._tried.set()
                self._tried = asyncio.Event()

    async def examined(self) -> tuple[OrcaError | None, ...]:
        """Return what the server has against each key, None where it lets it in; a server that has no route for it says nothing."""
        return tuple(await asyncio.gather(*(self._examined(provider) for provider in self._keyed)))

    async def _examined(self, provider: Provider) -> OrcaError | None:
        try:
            if isinstance(provider, OpenAIProvider):
                await provider.show(_ABOUT_KEY)
        except OrcaError as error:
            return None if error.code == "not_found" else error
        return None

    async def close(self) -> None:
        """Close the providers of all keys."""
        for provider in (self._listing, *self._keyed):
            await provider.close()

    async def _take(self) -> Taken:
        while (taken := self._ring.take(self._clock())) is None:
            if not self._ring.is_probing:
                raise self._at_rest("keys_resting", f"no key of {self.name} can be used")
            await self._tried.wait()
        return taken

    def _judged(self, taken: Taken, error: OrcaError) -> OrcaError:
        """Take note of what ``error`` says of the key, and return the error that the caller gets."""
        if error.code not in _OF_THE_KEY:
            # Whoever judges the request, or answers too much, has let the key in.
            is_let_in = isinstance(error, InvalidError | LimitError)
            (self._ring.accepted if is_let_in else self._ring.undecided)(taken)
            return error
        now = self._clock()
        wish = error.retry_after if isinstance(error, UnavailableError) else None
        self._ring.refused(taken, error.code, wish, now)
        said = f"key {taken.key + 1} of {len(self._keyed)}: {error.detail}"
        if self._ring.is_free(now):
            return UnavailableError(error.code, f"{said}; another key is free", retry_after=0.0)
        return self._at_rest(error.code, said)

    def _at_rest(self, code: str, said: str) -> UnavailableError:
        wait = self._ring.wait(self._clock())
        detail = f"{said}; at rest: {self._ring.resting()}; the next is tried in {wait:.0f} s"
        return UnavailableError(code, detail, retry_after=wait)


def ringed(wire: str, http: HttpClient, keys: Sequence[SecretStr], **given: Unpack[Given]) -> RingProvider:
    """Return the provider for one server that ``keys`` share the calls of; its listing is read with none. Raises as ``hosted``."""

    def one(key: SecretStr | None) -> Provider:
        with_key: Given = {**given, "api_key": key}
        return hosted(wire, http, **with_key)

    return RingProvider(one(None), [one(key) for key in keys])
