"""Who may ask: whoever has the key, where there is one. Where there is none the service listens on loopback only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request

from orca_agent.api.services import ApiSettings
from orca_http.reading import api_key_of
from orca_protocol.errors import InvalidError


def guard(settings: ApiSettings) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that raises InvalidError ``credentials_…`` for who has not the key."""

    async def check(request: Request) -> None:
        if settings.api_key is not None:
            refuse_stranger(settings, api_key_of(request))

    return check


def refuse_stranger(settings: ApiSettings, given: str) -> None:
    """Raise InvalidError ``credentials_unknown`` unless ``given`` is the key, or none is needed."""
    if settings.api_key is None:
        return
    # Digests have one length: how much of a guess is right cannot be told from the time that comparing takes.
    wanted = settings.api_key.get_secret_value()
    if not hmac.compare_digest(_digest(wanted), _digest(given)):
        raise InvalidError("credentials_unknown", "this is not the key of this service (its operator set ORCA_API_KEY)")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
