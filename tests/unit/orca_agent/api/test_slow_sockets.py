"""A reader of a WebSocket that does not read: what waits for it is bounded, and it makes room."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from orca_agent.store.events import NewEvent
from tests.unit.orca_agent.api.service import Service, service, spec_of


async def test_a_reader_that_does_not_read_is_cut_off_and_makes_room(database_url: str) -> None:
    async with service(database_url, works=False, send_seconds=0.3, followers=1) as idle:
        run_id = await idle.store(spec_of("A"))
        claim = await idle.services.queue.claim(run_id, "me")
        assert claim is not None
        more_than_any_buffer = [NewEvent("delta", {"text": "x" * 200_000}, 0.0)] * 100
        await idle.services.events.append(claim.hold, more_than_any_buffer, batch=1)
        async with connect(_address(idle, run_id), max_queue=1, close_timeout=0.1):
            assert await _status(idle, run_id) == 429
            async with asyncio.timeout(10):
                while await _status(idle, run_id) == 429:
                    await asyncio.sleep(0.05)


def _address(idle: Service, run_id: str) -> str:
    return f"{idle.address.replace('http', 'ws')}/ws/{run_id}"


async def _status(idle: Service, run_id: str) -> int:
    try:
        async with connect(_address(idle, run_id), close_timeout=0.1):
            return 101
    except InvalidStatus as error:
        return error.response.status_code
