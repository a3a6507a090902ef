"""The examples of clients, as they stand."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.house.repository import ROOT
from tests.integration.orca_agent.conftest import KEY
from tests.unit.orca_agent.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_examples_of_clients_work(shared: Service) -> None:
    swarm, chat = await asyncio.gather(printed(shared, "swarms_api"), printed(shared, "openai_api"))
    assert "Editor: out(?," in swarm
    assert chat.startswith("out(?,")
    for said in (swarm, chat):
        run = said.rpartition("run ")[2].partition(":")[0]
        assert (await shared.run(run))["status"] == "success"


async def printed(shared: Service, name: str) -> str:
    environment = {**os.environ, "ORCA_URL": shared.address, "ORCA_API_KEY": KEY, "ORCA_MODEL": "scripted"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / f"{name}.py"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0
    return said
