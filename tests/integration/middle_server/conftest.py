"""The room as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.middle_server.room import Room, room


@pytest.fixture
async def middle(database_url: str) -> AsyncIterator[Room]:
    async with room(database_url) as made:
        yield made
