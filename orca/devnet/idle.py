"""A devnet that waits for work: its clock goes on while there is something to carry to its end, and stands still otherwise.

A clock that ran on without work would only fill the chain with rounds in which nothing was done.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import httpx

from orca.devnet.conductor import Conductor
from orca.devnet.network import Devnet
from orca_protocol.errors import OrcaError

#: an item in one of these is on its way to payment
_UNDER_WAY: Final = ("leased", "reported", "in_review")


async def keep_going(devnet: Devnet, stopping: asyncio.Event, *, real_time: bool) -> None:
    """Wind the clock on while an item is under way, until ``stopping``; a clock that runs by itself is left alone."""
    async with httpx.AsyncClient(
        base_url=devnet.middle_url, headers={"x-api-key": devnet.api_key}, timeout=10.0, trust_env=False
    ) as http:

        async def may_go() -> bool:
            with suppress(httpx.HTTPError, KeyError, ValueError):  # it may be restarting: the clock waits
                for status in _UNDER_WAY:
                    if (await http.get(f"/v1/work-items?status={status}")).json()["work_items"]:
                        return True
            return False

        conductor = Conductor(devnet.chain, lambda: list(devnet.nodes), may_go)
        while not stopping.is_set():
            serving = asyncio.create_task(stopping.wait() if real_time else conductor.serve())
            told = asyncio.create_task(stopping.wait())
            await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
            for task in (serving, told):
                task.cancel()
            ended, _ = await asyncio.gather(serving, told, return_exceptions=True)
            if isinstance(ended, Exception) and not isinstance(ended, OrcaError):
                raise ended
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 0.2)
