"""Who waits for news from the database: one listening connection per process, handed on to any number of waiters.

A notification says that something happened and not what; it may be lost with its connection. Whoever waits therefore looks
for himself whenever he is woken, and now and then without being woken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import psycopg
from psycopg import AsyncConnection

from orca_agent.store.database import Connection, parameters

log = logging.getLogger(__name__)

_CHANNEL = "orca_agent"
_RECONNECT = 1.0


async def notify(db: Connection, topic: str) -> None:
    """Wake whoever waits for ``topic``, in whichever process, when this transaction is committed."""
    await db.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, topic))


class Wake:
    """One waiter's bell. It stays rung until it is heard."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Let the waiter go on."""
        self._rung.set()

    async def wait(self, at_most: float) -> None:
        """Return when the bell was rung since the last time, or after ``at_most`` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._rung.wait()
        self._rung.clear()


class Wakes:
    """The listener on the database at ``url``, for one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[str, set[Wake]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen(), name="wakes")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    @contextmanager
    def topic(self, name: str) -> Iterator[Wake]:
        """Yield a bell that rings whenever ``name`` is notified, and whenever a notification may have been missed."""
        wake = Wake()
        self._waiting.setdefault(name, set()).add(wake)
        try:
            yield wake
        finally:
            self._waiting[name].discard(wake)
            if not self._waiting[name]:
                del self._waiting[name]

    def ring_all(self) -> None:
        """Let everybody look: something may have been missed, or the process is ending."""
        for wakes in self._waiting.values():
            for wake in wakes:
                wake.ring()

    async def _listen(self) -> None:
        while True:
            try:
                async with await AsyncConnection.connect(**parameters(self._url, "orca-wakes"), autocommit=True) as db:
                    await db.execute(f"LISTEN {_CHANNEL}")
                    self.ring_all()
                    async for notification in db.notifies():
                        for wake in self._waiting.get(notification.payload, ()):
                            wake.ring()
            except psycopg.Error as error:
                log.warning("listening again in %s s: %s", _RECONNECT, " ".join(str(error).split()))
            await asyncio.sleep(_RECONNECT)
