"""Tools of a real MCP server: which are offered, what they return, what they cost at most, and what is said when they fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.mcp import McpSessions
from orca_protocol.errors import OrcaError
from orca_protocol.world import RESULT_MAX_BYTES, ToolRequest, ToolResult
from tests.unit.orca_agent.tools.mcp_server import TOKEN, Running, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as told:
        yield told


@pytest.fixture
async def sessions(server: Running) -> AsyncIterator[McpSessions]:
    made = McpSessions(settings(server))
    yield made
    await made.close()


def settings(server: Running, **fields: Any) -> McpSettings:
    return McpSettings(servers=(McpServer("files", server.url, SecretStr(TOKEN)),), **fields)


def request(tool: str, source: str = "files", **arguments: Any) -> ToolRequest:
    return ToolRequest(source=source, tool=tool, arguments=json.dumps(arguments))


async def test_tools_are_listed_with_their_schemas_and_called(server: Running, sessions: McpSessions) -> None:
    offer = await sessions.offer("files")
    assert [tool.name for tool in offer.tools] == ["add", "say", "fail", "dawdle"]
    assert offer.tools[0].description == "Adds two numbers."
    assert offer.tools[0].parameters["required"] == ["a", "b"]
    assert await sessions.call(request("add", a=2, b=3)) == ToolResult.of("5")
    assert await sessions.call(request("add", source=server.url, a=2, b=4)) == ToolResult.of("6")
    assert server.calls[-2:] == [("add", {"a": 2, "b": 3}), ("add", {"a": 2, "b": 4})]
    assert f"Bearer {TOKEN}" in server.tokens


async def test_what_a_tool_says_of_its_failure_is_a_result(sessions: McpSessions) -> None:
    result = await sessions.call(request("fail", why="no such file"))
    assert result.is_error
    assert "no such file" in result.content
    assert (await sessions.call(request("add", a="x", b=3))).is_error
    assert (await sessions.call(request("add", a=1, b=1))).content == "2"


async def test_a_long_result_is_cut_off_and_says_so(sessions: McpSessions) -> None:
    result = await sessions.call(request("say", size=RESULT_MAX_BYTES))
    assert len(result.content.encode()) <= RESULT_MAX_BYTES
    assert result.content.endswith(f"[cut off here: the result has {2 * RESULT_MAX_BYTES} bytes]")


async def test_a_server_that_nobody_admitted_is_never_asked(server: Running, sessions: McpSessions) -> None:
    calls = len(server.calls)
    for source in ("other", "http://127.0.0.1:1/mcp", "FILES"):
        with pytest.raises(OrcaError, match=r"mcp_not_admitted.*admitted are: files"):
            await sessions.offer(source)
        with pytest.raises(OrcaError, match="mcp_not_admitted"):
            await sessions.call(request("add", source=source, a=1, b=1))
    assert len(server.calls) == calls


async def test_a_tool_that_takes_too_long_is_given_up_and_the_session_lives(server: Running) -> None:
    sessions = McpSessions(settings(server, call_seconds=1.0))
    try:
        with pytest.raises(OrcaError, match="mcp_timeout"):
            await sessions.call(request("dawdle"))
        assert (await sessions.call(request("add", a=1, b=2))).content == "3"
    finally:
        await sessions.close()


async def test_a_server_that_sends_too_much_is_cut_off(server: Running) -> None:
    sessions = McpSessions(settings(server, answer_bytes=20_000, call_seconds=10.0))
    try:
        with pytest.raises(OrcaError, match="mcp_"):
            await sessions.call(request("say", size=60_000))
    finally:
        await sessions.close()


async def test_a_server_that_is_not_there_is_unavailable_and_asked_anew_the_next_time() -> None:
    sessions = McpSessions(McpSettings(servers=(McpServer("gone", "http://127.0.0.1:9/mcp"),), connect_seconds=2.0))
    try:
        for _ in range(2):
            with pytest.raises(OrcaError, match="mcp_failed: gone could not be asked"):
                await sessions.offer("gone")
    finally:
        await sessions.close()
