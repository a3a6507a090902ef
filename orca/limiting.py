"""Where the rate limits of keys are kept: in the agent's database, or in a Redis that ORCA_LIMITS_URL names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from limits.aio.storage import RedisStorage, Storage
from pydantic import SecretStr

from orca_agent.store.windows import PostgresWindows
from orca_protocol.errors import InvalidError, UnavailableError

_SECONDS = 5.0


@asynccontextmanager
async def open_limits(url: SecretStr | None, database_url: str) -> AsyncIterator[Storage]:
    """Yield the storage. Raises InvalidError ``redis_missing``, UnavailableError ``limits_unavailable``."""
    if url is None:
        async with PostgresWindows(database_url) as windows:
            yield windows
        return
    try:
        from redis.asyncio import ConnectionPool, Redis
        from redis.exceptions import RedisError
    except ImportError as error:
        said = "ORCA_LIMITS_URL needs the package redis; install it with: pip install 'orca-node[redis]'"
        raise InvalidError("redis_missing", said) from error
    pool = ConnectionPool.from_url(url.get_secret_value(), socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    try:
        try:
            await Redis(connection_pool=pool).ping()
        except (RedisError, OSError) as error:
            said = "the Redis of ORCA_LIMITS_URL does not answer; start it, or unset the variable"
            raise UnavailableError("limits_unavailable", said) from error
        # The address is in the pool; the storage only wants to know of what kind it is.
        options: dict[str, Any] = {"implementation": "redispy", "key_prefix": "orca", "connection_pool": pool}
        yield RedisStorage("async+redis://", wrap_exceptions=True, **options)
    finally:
        await pool.aclose()
