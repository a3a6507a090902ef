"""A middle server's room on a real port, on time of now, and what a node is told to meet it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp

from middle_server.app import create_app
from orca_agent.rounds.middle import MiddleClient
from orca_agent.rounds.settings import Identity, RoundsSettings
from orca_http.serving import address_of, listen, serve_on
from orca_protocol.keys import public_key_of
from tests.fakes.chain import FakeChain
from tests.integration.middle_server.room import SERVER_KEY, Room, issue, node_key, settings
from tests.unit.koii_chain.tasks import TASK

NETWORK = "devnet-1"
GATEWAY = "http://127.0.0.1:1"


def identity(number: int = 1) -> Identity:
    return Identity(node_key(number), public_key_of(node_key(100 + number)))


def node_settings(**changed: Any) -> RoundsSettings:
    known: dict[str, Any] = {
        "network": NETWORK,
        "task_id": TASK,
        "lease_signer": public_key_of(SERVER_KEY),
        "gateway": GATEWAY,
        "look_every": 0.02,
        "ask_every": 0.05,
        "watch_every": 0.02,
        "retry_after": 0.05,
    }
    return RoundsSettings(**(known | changed))


@asynccontextmanager
async def served(app: ASGIApp, listening: Any = None) -> AsyncIterator[str]:
    """Serve ``app`` on loopback and say its address."""
    listening, stopping = listening or listen("127.0.0.1", 0), asyncio.Event()
    up: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(serve_on(listening, app, up.put_nowait, stopping=stopping))
    try:
        async with asyncio.timeout(10):
            url = await up.get()
        yield url
    finally:
        stopping.set()
        await serving


class ServedRoom(Room):
    """A room whose items are of the nodes' task, and whose ``time`` is what its clock is ahead by."""

    url = ""
    clients: list[MiddleClient]

    async def create(self, **changed: Any) -> httpx.Response:
        return await super().create(**({"task_id": TASK, "models": [{"name": "scripted"}]} | changed))

    def now(self) -> float:
        return time.time() + self.time[0]

    def client_of(self, number: int = 1, *, patience: float = 5.0, seconds: float = 5.0) -> MiddleClient:
        self.clients.append(MiddleClient(self.url, TASK, identity(number), seconds=seconds, patience=patience, clock=self.now))
        return self.clients[-1]


@asynccontextmanager
async def served_room(
    database_url: str, *, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app, **changed: Any
) -> AsyncIterator[ServedRoom]:
    """A room on that database; nodes 1 to 9 are staked."""
    chain, ahead, listening = FakeChain(), [0.0], listen("127.0.0.1", 0)
    for number in range(1, 10):
        chain.put(public_key_of(node_key(number)))
    audience = urlsplit(address_of(listening)).netloc
    given = settings(database_url, audience=audience, task_ids=(TASK,), is_devnet=True, **changed)
    api_key = await issue(database_url)
    app = wrap(create_app(given, chain, clock=lambda: time.time() + ahead[0]))
    async with served(app, listening) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        room = ServedRoom(given, chain, client, api_key, ahead)
        room.url, room.clients = url, []
        try:
            yield room
        finally:
            for made in room.clients:
                await made.close()


async def until(condition: Any, *, seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds; it may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)
