from __future__ import annotations

import asyncio

import pytest

from orca_agent.store.database import pool_of


@pytest.mark.parametrize("turns", range(8))
async def test_a_task_that_is_cancelled_as_its_connection_comes_is_cancelled(database_url: str, turns: int) -> None:
    pool = pool_of(database_url, "test", size=1)
    await pool.open(wait=True)
    held = await pool.getconn()
    waiting = asyncio.create_task(pool.getconn())
    await asyncio.sleep(0.02)
    await pool.putconn(held)
    for _ in range(turns):
        await asyncio.sleep(0)
    is_early = waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() is is_early
    if not is_early:
        await pool.putconn(waiting.result())
    async with asyncio.timeout(5), pool.connection():
        pass  # the connection is back
    await pool.close()
