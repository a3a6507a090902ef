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


@pytest.mark.parametrize(("name", "said"), [("swarms_api", "Editor: out(?,2)"), ("openai_api", "out(?,1)\n")])
async def test_an_example_of_a_client_works(shared: Service, name: str, said: str) -> None:
    environment = {**os.environ, "ORCA_URL": shared.address, "ORCA_API_KEY": KEY, "ORCA_MODEL": "scripted"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / f"{name}.py"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert said in printed
    run = printed.rpartition("run ")[2].partition(":")[0]
    assert (await shared.run(run))["status"] == "success"
