"""How often a key may ask: moving windows of the ``limits`` library, shared by all processes; told in every answer's headers.

X-RateLimit-Limit-Minute, X-RateLimit-Remaining-Minute, X-RateLimit-Reset (Unix seconds: when the minute has room again)
X-RateLimit-Limit-Day, X-RateLimit-Remaining-Day                          where the key has a limit by day
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orca_agent.store.keys import ApiKey
from orca_protocol.errors import LimitError, UnavailableError

Per = Literal["minute", "day"]
_STATE = "rates"


@dataclass(frozen=True, slots=True)
class Window:
    """How a key stands in one of its windows."""

    per: Per
    limit: int
    remaining: int
    #: when the oldest hit leaves the window, in Unix seconds
    reset: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what an answer says of this window."""
        name = self.per.capitalize()
        told = {f"x-ratelimit-limit-{name}": self.limit, f"x-ratelimit-remaining-{name}": self.remaining}
        if self.per == "minute":
            told["x-ratelimit-reset"] = math.ceil(self.reset)
        return [(header.lower().encode(), str(value).encode()) for header, value in told.items()]


class Rates:
    """The windows of all keys, in ``storage``."""

    def __init__(self, storage: Storage) -> None:
        self._limiter = MovingWindowRateLimiter(storage)

    async def hit(self, key: ApiKey, request: HTTPConnection) -> None:
        """Count a request of the key, and keep with the request what its answer says. Raises LimitError ``rate_limited``."""
        with _saying_so():
            full = await self._first_full(key)
        windows = await self.windows(key)
        setattr(request.state, _STATE, windows)
        if full is not None:
            (window,) = [window for window in windows if window.per == full]
            wait = max(1.0, window.reset - time.time())
            said = f"the key {key.name} may ask {window.limit} times a {full}; there is room again in {math.ceil(wait)} s"
            raise LimitError("rate_limited", said, retry_after=wait)

    async def windows(self, key: ApiKey) -> list[Window]:
        """Return how a key stands in each of its windows."""
        found = []
        with _saying_so():
            for per, item in _items(key):
                stats = await self._limiter.get_window_stats(item, key.id)
                found.append(Window(per, item.amount, max(0, stats.remaining), stats.reset_time))
        return found

    async def _first_full(self, key: ApiKey) -> Per | None:
        """Hit the windows, the shortest first, and return the one that has no room; those after it are not hit."""
        for per, item in _items(key):
            if not await self._limiter.hit(item, key.id):
                return per
        return None


class RateHeaders:
    """ASGI middleware around everything else: an answer to a key says how the key stands, whatever the answer is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, with its standing on the answer where the gate left one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = dict(scope.get("state", {}))

        async def telling(message: Message) -> None:
            windows: Sequence[Window] = state.get(_STATE, ())
            if message["type"] == "http.response.start" and windows:
                told = [header for window in windows for header in window.headers()]
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        await self._app({**scope, "state": state}, receive, telling)


def _items(key: ApiKey) -> list[tuple[Per, RateLimitItem]]:
    found: list[tuple[Per, RateLimitItem]] = [("minute", RateLimitItemPerMinute(key.per_minute, namespace="orca"))]
    if key.per_day is not None:
        found.append(("day", RateLimitItemPerDay(key.per_day, namespace="orca")))
    return found


@contextmanager
def _saying_so() -> Iterator[None]:
    """Let a storage that does not answer be one of ours."""
    try:
        yield
    except StorageError as error:
        said = " ".join(str(error.storage_error).split())
        raise UnavailableError(
            "limits_unavailable", f"the server of the rate limits (ORCA_LIMITS_URL) did not answer: {said}"
        ) from error
