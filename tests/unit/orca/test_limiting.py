"""Where rate limits are kept: the database, or a Redis; both hold a key to its limit across connections."""

from __future__ import annotations

import asyncio
import builtins
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter
from pydantic import SecretStr

from orca.limiting import open_limits
from orca_protocol.errors import InvalidError, UnavailableError


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretStr]:
    """A Redis of this module's own, on a socket, which wants a password."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (apt install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    options: list[str | Path] = [
        "--port",
        "0",
        "--unixsocket",
        folder / "socket",
        "--requirepass",
        "hush",
        "--save",
        "",
        "--dir",
        folder,
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 10
        while not (folder / "socket").exists():
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
        yield SecretStr(f"unix://:hush@{folder / 'socket'}")
    finally:
        process.terminate()
        process.wait(10)


async def let_in(url: SecretStr | None, database_url: str) -> int:
    """Hit one limit of five from two openings at once."""
    async with open_limits(url, database_url) as one, open_limits(url, database_url) as other:
        limiters, item = [MovingWindowRateLimiter(one), MovingWindowRateLimiter(other)], RateLimitItemPerMinute(5)
        hits = await asyncio.gather(*(limiter.hit(item, "key") for limiter in limiters for _ in range(10)))
        stats = await limiters[0].get_window_stats(item, "key")
        assert stats.remaining == 0
        assert stats.reset_time == pytest.approx(time.time() + 60, abs=5)
        return sum(hits)


async def test_the_database_keeps_them_where_nothing_else_is_said(database_url: str) -> None:
    assert await let_in(None, database_url) == 5


async def test_a_redis_keeps_them_where_one_is_named(redis: SecretStr) -> None:
    assert await let_in(redis, "postgresql://nowhere") == 5


async def test_a_redis_that_does_not_answer_is_unavailable_and_its_password_is_not_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="ORCA_LIMITS_URL") as caught:
        async with open_limits(SecretStr(f"unix://:hush@{tmp_path / 'none'}"), "postgresql://nowhere"):
            pass
    assert caught.value.code == "limits_unavailable"
    assert "hush" not in str(caught.value)


async def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import_as_ever = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("redis"):
            raise ImportError(name)
        return import_as_ever(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidError, match="redis_missing") as caught:
        async with open_limits(SecretStr("redis://localhost"), "postgresql://nowhere"):
            pass
    assert "orca-node[redis]" in caught.value.detail
