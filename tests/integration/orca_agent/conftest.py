"""One service for all tests here: a real uvicorn over a real database of its own, with a model that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import psycopg
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from pydantic import SecretStr

from orca.postgres import EmbeddedPostgres
from orca_agent.store.migrate import migrate
from orca_protocol.errors import InvalidError
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service, service

KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="session")
def own_database(postgres: EmbeddedPostgres) -> str:
    """The address of a database that no other test empties."""
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute("CREATE DATABASE of_clients OWNER orca")
    url = postgres.url.replace("/orca?", "/of_clients?")
    migrate(url)
    return url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(own_database: str) -> AsyncIterator[Service]:
    """The service."""
    async with service(own_database, model=Talker(), attempts=2, api_key=SecretStr(KEY), heartbeat_seconds=0.2) as made:
        made.client.headers["x-api-key"] = KEY
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(shared: Service) -> AsyncIterator[AsyncOpenAI]:
    """The OpenAI API's own client, as it comes."""
    async with AsyncOpenAI(base_url=f"{shared.address}/v1", api_key=KEY) as made:
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def talker(shared: Service) -> Talker:
    """Its model, as if nothing had been asked yet; what an earlier test left running is ended first."""
    queue = shared.services.queue
    for status in ("queued", "running"):
        for state in await queue.states(status=status, after=0, limit=100):
            with suppress(InvalidError):  # it ended meanwhile
                await queue.cancel(state.run.id)
    async with asyncio.timeout(10):
        while (await queue.depth()).unfinished:
            await asyncio.sleep(0.02)
    assert isinstance(shared.model, Talker)
    shared.model.reset()
    return shared.model
