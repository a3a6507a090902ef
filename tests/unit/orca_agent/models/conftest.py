from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from orca_agent.models.base import Caps
from orca_agent.models.http import HttpClient, HttpSettings
from tests.fakes.scripted_server import ScriptedServer, scripted_server

Loops = dict[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """A node runs on either loop; what stands right above the sockets is tested on both."""
    loops: Loops = {"asyncio": asyncio.new_event_loop}
    return {**loops, "uvloop": uvloop.new_event_loop} if item.path.name == "test_http.py" else loops


SMALL = Caps(answer_bytes=20_000, body_bytes=100_000, event_bytes=50_000, stream_bytes=200_000, listed_models=50)


@pytest.fixture(scope="session")
def server_process() -> Iterator[ScriptedServer]:
    with scripted_server(max_seconds=3600) as server:
        yield server


@pytest.fixture
def server(server_process: ScriptedServer) -> ScriptedServer:
    server_process.reset({})
    return server_process


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(HttpSettings(connect=2.0, read=5.0, total=20.0, caps=SMALL))
    yield client
    await client.close()
