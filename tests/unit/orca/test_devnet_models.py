"""What answers for a spec on a devnet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orca.devnet.models import answering
from orca_protocol.errors import UnavailableError
from orca_protocol.spec import read_spec
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import settings_in
from tests.unit.orca.test_examination import dead_url

SPEC = read_spec(
    json.dumps({"task": "T", "swarm_type": "SequentialWorkflow", "agents": [{"agent_name": "A", "model_name": "gpt-9"}]}).encode(),
    where="spec",
)


async def test_a_name_of_a_server_that_does_not_answer_gets_an_alias_and_that_is_said(
    tmp_path: Path, server: ScriptedServer
) -> None:
    found = await answering(SPEC, settings_in(tmp_path, openai_base_url=server.openai, model_servers={"down": dead_url()}))
    assert found.aliases == "gpt-9=scripted"
    assert "an alias made for this devnet, because no server that answers has gpt-9" in found.said[0]


async def test_where_nothing_answers_there_is_no_devnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orca.devnet.models.LOCAL", "local/none")
    with pytest.raises(UnavailableError, match="no_model"):
        await answering(SPEC, settings_in(tmp_path, openai_base_url=dead_url()))
