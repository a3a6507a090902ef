"""Moving windows over PostgreSQL: exact, whichever process is asked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter

from orca_agent.store.windows import PostgresWindows
from orca_protocol.errors import UnavailableError

#: hits one window, four hits at a time, until it is full, and prints how many hits were let in
HITTER = """
import asyncio, sys
from orca_agent.store.windows import PostgresWindows
async def main(url):
    async with PostgresWindows(url) as windows:
        async def hit():
            let_in = 0
            while await windows.acquire_entry("w", 200, 600):
                let_in += 1
            return let_in
        print(sum(await asyncio.gather(*(hit() for _ in range(4)))))
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
async def windows(database_url: str) -> AsyncIterator[PostgresWindows]:
    async with PostgresWindows(database_url) as made:
        yield made


def age(url: str, seconds: float) -> None:
    """Let every hit be so much older."""
    with psycopg.connect(url) as db:
        db.execute("UPDATE orca_agent.rate_hits SET at = at - %s", (seconds,))


async def test_several_processes_share_one_window_and_never_let_in_more_than_it_holds(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", HITTER, database_url, stdout=subprocess.PIPE) for _ in range(3)
    ]
    said = [(await process.communicate())[0] for process in processes]
    assert sum(map(int, said)) == 200
    assert [process.returncode for process in processes] == [0, 0, 0]


async def test_hits_at_once_let_in_no_more_than_there_is_room(windows: PostgresWindows) -> None:
    let_in = await asyncio.gather(*(windows.acquire_entry("w", 7, 60) for _ in range(30)))
    assert sum(let_in) == 7
    assert sum(await asyncio.gather(*(windows.acquire_entry("v", 7, 60) for _ in range(5)))) == 5, "another window is another's"


async def test_no_window_of_time_holds_more_than_the_limit(database_url: str) -> None:
    """The moving window itself: while hits come, any one second lets in at most the limit."""
    async with PostgresWindows(database_url) as windows:
        times: list[float] = []
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            if await windows.acquire_entry("w", 5, 1):
                with psycopg.connect(database_url) as db:
                    row = db.execute("SELECT max(at) FROM orca_agent.rate_hits").fetchone()
                assert row is not None
                times.append(row[0])
            await asyncio.sleep(0.01)
    assert len(times) >= 10, "room comes back"
    assert all(times[place + 5] - times[place] >= 1 for place in range(len(times) - 5))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from([0.0, 0.0, 20.0, 61.0]), st.integers(1, 4)), max_size=8), limit=st.integers(1, 5))
def test_it_lets_in_what_a_list_of_times_would(database_url: str, steps: Sequence[tuple[float, int]], limit: int) -> None:
    async def compare() -> None:
        async with PostgresWindows(database_url) as windows:
            await windows.reset()
            ages: list[float] = []
            for waited, amount in steps:
                if waited:
                    age(database_url, waited)
                ages = [old + waited for old in ages]
                room = sum(old < 60 for old in ages) + amount <= limit
                assert await windows.acquire_entry("w", limit, 60, amount) is room
                ages += [0.0] * amount * room
                start, count = await windows.get_moving_window("w", limit, 60)
                recent = [old for old in ages if old < 60]
                assert count == len(recent)
                assert start == pytest.approx(time.time() - max(recent, default=0.0), abs=5)

    asyncio.run(compare())


async def test_the_library_says_what_is_left_and_when_there_is_room(windows: PostgresWindows, database_url: str) -> None:
    limiter, item = MovingWindowRateLimiter(windows), RateLimitItemPerMinute(3)
    for left in (2, 1, 0):
        assert await limiter.hit(item, "key")
        assert (await limiter.get_window_stats(item, "key")).remaining == left
    assert not await limiter.hit(item, "key")
    assert not await limiter.test(item, "key")
    assert (await limiter.get_window_stats(item, "key")).reset_time == pytest.approx(time.time() + 60, abs=5)
    age(database_url, 61)
    assert await limiter.hit(item, "key")
    assert (await limiter.get_window_stats(item, "other")).remaining == 3


async def test_only_as_many_hits_are_kept_as_can_count(windows: PostgresWindows, database_url: str) -> None:
    for _ in range(12):
        assert await windows.acquire_entry("w", 4, 60)
        age(database_url, 20)
    with psycopg.connect(database_url) as db:
        assert db.execute("SELECT count(*) FROM orca_agent.rate_hits").fetchone() == (4,)


async def test_windows_that_are_over_are_forgotten(windows: PostgresWindows, database_url: str) -> None:
    limiter = MovingWindowRateLimiter(windows)
    await limiter.hit(RateLimitItemPerSecond(1), "old")
    await limiter.hit(RateLimitItemPerMinute(1), "new")
    with psycopg.connect(database_url) as db:
        db.execute("UPDATE orca_agent.rate_windows SET until = now() - interval '1 s' WHERE key LIKE '%old%'")
    assert await windows.forget() == 1
    assert not await limiter.hit(RateLimitItemPerMinute(1), "new")
    await limiter.clear(RateLimitItemPerMinute(1), "new")
    assert await limiter.hit(RateLimitItemPerMinute(1), "new")


async def test_a_database_that_is_gone_is_unavailable(database_url: str, windows: PostgresWindows) -> None:
    assert await windows.check()
    nowhere = PostgresWindows(database_url.replace("/orca?", "/nosuch?"))
    nowhere._pool.timeout = 0.2
    with pytest.raises(UnavailableError, match="limits_unavailable"):
        async with nowhere:
            pass
    assert not await nowhere.check()
