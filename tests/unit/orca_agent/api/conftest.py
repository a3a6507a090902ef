"""The service as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.orca_agent.api.service import Service, service


@pytest.fixture
async def agent(database_url: str) -> AsyncIterator[Service]:
    """A service with a worker."""
    async with service(database_url) as made:
        yield made


@pytest.fixture
async def idle(database_url: str) -> AsyncIterator[Service]:
    """A service whose runs stay queued."""
    async with service(database_url, works=False) as made:
        yield made
