"""Who may ask, and what: the operator with ORCA_API_KEY, everybody else with a key that was issued and the scopes it has.

    read    whatever only looks: the key's own runs, their events, outputs and proofs, what can be asked for
    run     whatever changes something: storing, cancelling and answering runs of its own
    admin   both, for the runs of everybody, and what belongs to the node itself: its proofs, stores and rounds

A service that nobody else can reach and that never issued a key lets everybody in as its operator. Once a key was issued each
request needs one: what stands before a service on loopback is then not taken for its operator.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cachetools import TTLCache
from pydantic import SecretStr
from starlette.requests import HTTPConnection, Request

from orca_agent.api.failures import Failures, peer_of
from orca_agent.api.rates import Rates, Window
from orca_agent.store.keys import ApiKey, KeyStore, Scope, digest_of
from orca_http.reading import api_key_of
from orca_protocol.errors import InvalidError

Guard = Callable[[Request], Awaitable[None]]

_LOOKS: Final = ("GET", "HEAD")
#: keys that were right a short while ago are looked at also where their address is refused for others' wrong ones
_KNOWN = 4096
_KNOWN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``key`` is None for the operator; ``secret`` is what was shown."""

    key: ApiKey | None = None
    secret: SecretStr | None = None

    @property
    def owner(self) -> str | None:
        """Whose the runs are that this caller stores: a key's id, None for the operator's own."""
        return None if self.key is None else self.key.id

    @property
    def is_admin(self) -> bool:
        """Whether everybody's runs are this caller's business."""
        return self.key is None or "admin" in self.key.scopes

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope."""
        return self.is_admin or (self.key is not None and scope in self.key.scopes)

    def refuse_without(self, scope: Scope) -> None:
        """Raise InvalidError ``scope_missing`` if the caller may not."""
        if not self.may(scope) and self.key is not None:
            said = f"this needs the scope {scope}; the key {self.key.name} has {', '.join(self.key.scopes)}"
            raise InvalidError("scope_missing", said)

    def is_betrayed_by(self, data: bytes) -> bool:
        """Whether what the caller showed stands in ``data``."""
        return self.secret is not None and self.secret.get_secret_value().encode("utf-8", "surrogateescape") in data

    def sees(self, owner: str | None) -> bool:
        """Whether a run of ``owner`` is this caller's business."""
        return self.is_admin or owner == self.owner


class Gate:
    """Lets requests in. Without an ``operator`` key, who reaches the service is its operator, until a key was issued."""

    def __init__(self, operator: SecretStr | None, keys: KeyStore, rates: Rates, failures: Failures) -> None:
        self._operator = None if operator is None else digest_of(operator.get_secret_value())
        self._keys = keys
        self._rates = rates
        self._failures = failures
        self._known: TTLCache[bytes, bool] = TTLCache(_KNOWN, _KNOWN_SECONDS)
        self._has_keys = False

    async def guard(self, request: Request) -> None:
        """Let in who may do what the request's method does: look, or change something."""
        await self._let_in(request, "read" if request.method in _LOOKS else "run")

    def needs(self, scope: Scope) -> Guard:
        """Return a guard that lets in who has ``scope``."""

        async def check(request: Request) -> None:
            await self._let_in(request, scope)

        return check

    async def admit(self, connection: HTTPConnection, secret_of: Callable[[HTTPConnection], str] = api_key_of) -> Caller:
        """Return who asks to look at something by other means than a route of HTTP; raises as a guard does."""
        return await self._let_in(connection, "read", secret_of)

    async def windows(self, key: ApiKey) -> list[Window]:
        """Return how a key stands in each of its windows."""
        return await self._rates.windows(key)

    async def _let_in(
        self, request: HTTPConnection, scope: Scope, secret_of: Callable[[HTTPConnection], str] = api_key_of
    ) -> Caller:
        """Return who asks, and keep that with the request. Raises InvalidError ``credentials_…``, ``scope_missing``; LimitError."""
        caller = await self._caller(request, secret_of)
        request.state.caller = caller
        if caller.key is not None:
            await self._rates.hit(caller.key, request)
        caller.refuse_without(scope)
        return caller

    async def _caller(self, request: HTTPConnection, secret_of: Callable[[HTTPConnection], str]) -> Caller:
        peer = peer_of(request)
        try:
            secret = secret_of(request)
        except InvalidError as error:
            if self._operator is None and not await self._has_issued():
                return Caller()
            self._failures.add(peer)
            if self._operator is not None:
                raise
            raise InvalidError(error.code, f"{error.detail}. Keys were issued here; the operator's own is ORCA_API_KEY") from error
        digest = digest_of(secret)
        if digest not in self._known:
            self._failures.refuse(peer)
        # Digests have one length: how much of a guess is right cannot be told from the time that comparing takes.
        if self._operator is not None and hmac.compare_digest(self._operator, digest):
            self._known[digest] = True
            return Caller(secret=SecretStr(secret))
        key = await self._keys.find(secret)
        try:
            found = _valid(key)
        except InvalidError:
            self._known.pop(digest, None)
            self._failures.add(peer)
            raise
        self._known[digest] = True
        return Caller(found, SecretStr(secret))

    async def _has_issued(self) -> bool:
        """Whether a key was ever issued: keys are never deleted, so what is so stays so."""
        self._has_keys = self._has_keys or await self._keys.has_any()
        return self._has_keys


def caller_of(request: HTTPConnection) -> Caller:
    """Return who asks, as the gate found out."""
    caller = request.state.caller
    if not isinstance(caller, Caller):
        raise TypeError("a guarded route has a caller")
    return caller


def _valid(key: ApiKey | None) -> ApiKey:
    """Return the key, if it opens anything. Only who has a key's secret learns that it expired or was revoked."""
    if key is None:
        raise InvalidError(
            "credentials_unknown", "this service knows no such key; its operator issues keys with: orca key issue NAME"
        )
    state = key.state(datetime.now(UTC))
    if state == "revoked":
        raise InvalidError("credentials_revoked", f"the key {key.name} was revoked; ask the operator for another one")
    if state == "expired":
        raise InvalidError("credentials_expired", f"the key {key.name} has expired; ask the operator for another one")
    return key
