"""``orca doctor`` asks each MCP server; and how the servers are read from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from orca.network_settings import load
from orca.node import LocalNode
from orca.run_settings import RunSettings
from orca.tool_examination import examine_tools
from orca_protocol.errors import InvalidError
from orca_protocol.spec import read_spec
from tests.unit.orca.console import settings_in
from tests.unit.orca_agent.tools.mcp_server import TOKEN, running


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> RunSettings:
    for name, value in variables.items():
        monkeypatch.setenv(f"ORCA_{name.upper()}", value)
    return load(RunSettings)


async def test_each_server_says_what_it_offers_and_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        named = f"sums={server.url}, gone=http://127.0.0.1:9/mcp"
        runs = read(monkeypatch, mcp_servers=named, mcp_tokens=f"sums={TOKEN}", mcp_for_leased="sums")
        async with LocalNode(settings_in(tmp_path), runs=runs) as node:
            assert node.secrets.are_in(TOKEN.encode())
            sums, gone = [finding async for finding in examine_tools(node)]
        assert (sums.state, sums.detail) == ("ok", "offers 4 tools, for own and leased work")
        assert (gone.part, gone.state) == ("tools: gone", "broken")
        assert "ORCA_MCP_SERVERS" in gone.remedy
        assert f"Bearer {TOKEN}" in server.tokens


async def test_without_servers_doctor_says_how_to_name_some(tmp_path: Path) -> None:
    async with LocalNode(settings_in(tmp_path), runs=RunSettings()) as node:
        (finding,) = [finding async for finding in examine_tools(node)]
    assert (finding.state, "ORCA_MCP_SERVERS" in finding.remedy) == ("absent", True)


def test_leased_work_reaches_what_was_named_for_it_and_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = read(monkeypatch, mcp_servers="a=http://a/mcp,b=http://b/mcp", mcp_for_leased="b", images_private="true")
    agent = '{"agent_name": "A", "model_name": "m", "mcp_servers": ["a"]}'
    spec = read_spec(f'{{"task": "T", "agents": [{agent}]}}'.encode())
    runs.reach.refuse_others(spec)
    with pytest.raises(InvalidError, match=r"mcp_not_admitted.*admitted are: b"):
        runs.reach_of_leased.refuse_others(spec)
    assert (runs.reach.images.allow_private, runs.reach_of_leased.images.allow_private) == (True, False)


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("https://host/mcp", set()),
        ("https://host/v1/documents/mcp?version=2&mode=documents", set()),
        ("https://host/mcp/s3cr3t-in-path", {"s3cr3t-in-path"}),
        ("https://host/mcp/averyveryverylongone/x", {"averyveryverylongone"}),
        ("https://host/mcp?api_key=TOPSECRET&v=1", {"TOPSECRET"}),
        ("https://host/mcp?x=a1%2Bb2%20c3", {"a1%2Bb2%20c3", "a1+b2 c3"}),
    ],
)
def test_what_may_be_a_key_in_a_servers_address_is_a_secret(monkeypatch: pytest.MonkeyPatch, url: str, keys: set[str]) -> None:
    assert {secret.get_secret_value() for secret in read(monkeypatch, mcp_servers=f"files={url}").secrets} == keys


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"mcp_servers": "files"}, "ORCA_MCP_SERVERS"),
        ({"mcp_servers": "files=ftp://host"}, "ORCA_MCP_SERVERS"),
        ({"mcp_servers": "a=http://a", "mcp_tokens": "b=secret"}, "ORCA_MCP_TOKENS"),
        ({"mcp_for_leased": "b"}, "ORCA_MCP_FOR_LEASED"),
        ({"run_max_cost": "much"}, "ORCA_RUN_MAX_COST"),
    ],
)
def test_what_is_wrong_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], names: str) -> None:
    with pytest.raises(InvalidError, match=names) as caught:
        read(monkeypatch, **variables)
    assert "secret" not in caught.value.detail


def test_the_nodes_budget_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = read(monkeypatch, run_max_calls="5", run_max_cost="0.5", run_max_seconds="60").budget
    assert budget.document() == {"calls": 5, "cost": "0.5", "seconds": "60"}
