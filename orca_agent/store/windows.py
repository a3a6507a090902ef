"""Moving windows for the ``limits`` library over PostgreSQL: exact, and one window for all processes.

Each hit has a number of its window. The window's row is locked while a hit is judged, so hits are judged one after the other
whichever processes they come to: a hit is let in if the one ``limit`` numbers before it is older than the window is long. That
is one lookup, however large the limit. Times are the database's, and never go back within a window.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import psycopg
from limits.aio.storage import MovingWindowSupport, Storage

from orca_agent.store.database import Connection, pool_of
from orca_protocol.errors import UnavailableError

_LOCK = """
INSERT INTO rate_windows AS windows (key, last, until) VALUES (%(key)s, 0, now() + make_interval(secs => %(expiry)s))
    ON CONFLICT (key) DO UPDATE SET until = greatest(windows.until, excluded.until)
"""
# A statement of its own: what it reads is what was there once the row was locked.
_JUDGE = """
WITH judged AS (
    SELECT last, (SELECT at FROM rate_hits WHERE key = %(key)s AND number = last + %(amount)s - %(limit)s) AS before,
           greatest(extract(epoch FROM clock_timestamp())::float8,
                    (SELECT at FROM rate_hits WHERE key = %(key)s AND number = last)) AS now
      FROM rate_windows WHERE key = %(key)s
), admitted AS MATERIALIZED (SELECT * FROM judged WHERE before IS NULL OR before <= now - %(expiry)s
), hits AS (
    INSERT INTO rate_hits (key, number, at)
    SELECT %(key)s, number, now FROM admitted, generate_series(last + 1, last + %(amount)s) AS number
), dropped AS (
    DELETE FROM rate_hits USING admitted WHERE key = %(key)s AND number <= last + %(amount)s - %(limit)s
)
UPDATE rate_windows SET last = admitted.last + %(amount)s FROM admitted WHERE key = %(key)s RETURNING 1
"""
_WINDOW = """
SELECT first.at, windows.last - first.number + 1, extract(epoch FROM now())::float8
  FROM (SELECT) AS always LEFT JOIN rate_windows AS windows ON key = %(key)s
  LEFT JOIN LATERAL (SELECT number, at FROM rate_hits WHERE rate_hits.key = windows.key
                        AND at > extract(epoch FROM clock_timestamp()) - %(expiry)s ORDER BY at, number LIMIT 1) AS first ON true
"""
_FORGET = """
WITH over AS (DELETE FROM rate_windows WHERE key IN (
    SELECT key FROM rate_windows WHERE until < now() LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING key)
DELETE FROM rate_hits USING over WHERE rate_hits.key = over.key
"""

#: hits between two looks for windows that are over
_FORGET_EVERY = 1000


class PostgresWindows(Storage, MovingWindowSupport):
    """The windows in the database at ``url``, for one event loop. Errors: UnavailableError ``limits_unavailable``."""

    STORAGE_SCHEME = None  # made with an address of a database, never found by one

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._pool = pool_of(url, "orca-limits", size=4, autocommit=True)
        self._judged = 0

    async def __aenter__(self) -> Self:
        async with self._saying_so():
            try:
                await self._pool.open(wait=True, timeout=self._pool.timeout)
            except psycopg.Error:
                await self._pool.close()
                raise
        await self.forget()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._pool.close()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What this storage raises when the world fails it."""
        return UnavailableError

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take ``amount`` hits of the window, if it has room for all of them."""
        if amount > limit:
            return False
        self._judged += 1
        if self._judged % _FORGET_EVERY == 0:
            await self.forget()
        values = {"key": key, "limit": limit, "expiry": expiry, "amount": amount}
        async with self._connection() as db, db.pipeline(), db.transaction():
            await db.execute(_LOCK, values)
            return await (await db.execute(_JUDGE, values)).fetchone() is not None

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest hit of the window was (now, if there is none) and how many there are."""
        async with self._connection() as db:
            row = await (await db.execute(_WINDOW, {"key": key, "expiry": expiry})).fetchone()
        if row is None:
            raise RuntimeError("a join to something that is always there has a row")
        first, count, now = row
        return (now, 0) if first is None else (first, count)

    async def forget(self) -> int:
        """Delete some windows in which nothing counts any more; return how many hits those were."""
        async with self._connection() as db:
            return (await db.execute(_FORGET)).rowcount

    async def clear(self, key: str) -> None:
        """Forget the hits of one window."""
        async with self._connection() as db, db.transaction():
            await db.execute("DELETE FROM rate_windows WHERE key = %s", (key,))
            await db.execute("DELETE FROM rate_hits WHERE key = %s", (key,))

    async def reset(self) -> int:
        """Forget all hits; return how many there were."""
        async with self._connection() as db, db.transaction():
            await db.execute("DELETE FROM rate_windows")
            return (await db.execute("DELETE FROM rate_hits")).rowcount

    async def check(self) -> bool:
        """Say whether the database answers."""
        try:
            async with self._connection() as db:
                await db.execute("SELECT 1")
        except UnavailableError:
            return False
        return True

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows are none of this storage's."""
        raise NotImplementedError("this storage keeps moving windows only")

    async def get(self, key: str) -> int:
        """Fixed windows are none of this storage's."""
        raise NotImplementedError("this storage keeps moving windows only")

    async def get_expiry(self, key: str) -> float:
        """Fixed windows are none of this storage's."""
        raise NotImplementedError("this storage keeps moving windows only")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._saying_so(), self._pool.connection() as db:
            yield db

    @asynccontextmanager
    async def _saying_so(self) -> AsyncIterator[None]:
        try:
            yield
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            raise UnavailableError("limits_unavailable", f"the database of the rate limits could not be used: {said}") from error
