"""Tools of a real MCP server: which are offered, what they return, what they cost at most, and what is said when they fail."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.mcp import McpSessions
from orca_protocol.canonical import digest_of
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.journal import Path, entry_for, journal_bytes, read_journal
from orca_protocol.model import Answer, Message, ModelIdentity, ModelRequest, ToolDefinition
from orca_protocol.world import RESULT_MAX_BYTES, Offer, OfferRequest, ToolRequest, ToolResult
from tests.unit.orca_agent.models.raw_server import raw_server
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
        with pytest.raises(LimitError, match="mcp_too_large: files: the server sent more than 20000 bytes"):
            await sessions.call(request("say", size=60_000))
        with pytest.raises(UnavailableError, match=r"mcp_failed: .* MCPError -?\d+$"):
            await sessions.call(request("no such tool"))
    finally:
        await sessions.close()


async def test_a_bound_that_one_question_breaks_is_not_said_of_another(server: Running) -> None:
    sessions = McpSessions(settings(server, answer_bytes=20_000, call_seconds=3.0))
    try:
        await sessions.call(request("add", a=1, b=2))
        large, slow = await asyncio.gather(
            sessions.call(request("say", size=60_000)), sessions.call(request("dawdle")), return_exceptions=True
        )
        assert isinstance(large, LimitError)
        assert isinstance(slow, UnavailableError)
    finally:
        await sessions.close()


@pytest.mark.parametrize(
    ("status", "said"),
    [("307 Temporary Redirect", "HTTP 307"), ("404 Not Found", "HTTP 404"), ("500 Internal Server Error", "HTTP 500")],
)
async def test_what_a_server_answers_is_told_without_its_address_which_may_hold_a_key(
    status: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere = "Location: http://127.0.0.1:9/elsewhere/s3cr3t-in-path?key=TOPSECRET\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{elsewhere}Content-Length: 0\r\n\r\n".encode())

    caplog.set_level(logging.INFO)
    with raw_server(refuse) as there:
        url = f"http://127.0.0.1:{there.port}/mcp/s3cr3t-in-path?key=TOPSECRET"
        sessions = McpSessions(McpSettings(servers=(McpServer("files", url),), connect_seconds=2.0, call_seconds=8.0))
        with pytest.raises(UnavailableError, match=f"mcp_failed: files could not be asked: .*{said}$") as caught:
            await sessions.offer("files")
        await sessions.close()
    told = f"{caught.value} {caplog.text}"
    assert there.requests
    assert "s3cr3t" not in told
    assert "TOPSECRET" not in told


class Offering:
    """A session whose server offers one tool."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._tool = SimpleNamespace(name="t", description=None, input_schema=parameters)

    async def client(self) -> Offering:
        return self

    async def list_tools(self, cursor: str | None = None) -> SimpleNamespace:
        return SimpleNamespace(tools=[self._tool], next_cursor=None)


def nested(brackets: Sequence[str]) -> dict[str, Any]:
    """A schema with an object or a list within each other, as the brackets say."""
    found: Any = {}
    for bracket in brackets:
        found = [found] if bracket == "[" else {"items": found}
    return {"enum": found}


def offering(parameters: dict[str, Any]) -> McpSessions:
    there: Any = {"files": Offering(parameters)}
    return McpSessions(McpSettings(servers=(McpServer("files", "http://x/mcp"),)), there)


def written(offer: Offer) -> bytes:
    """The entry that holds ``offer``, and one whose request shows its tools to a model."""
    asked = OfferRequest(source="files")
    message = Message(role="user", content="T")
    shown = ModelRequest(model="m", messages=(message,), max_tokens=1, temperature=0.0, seed=1, tools=offer.tools)
    answer = Answer(content="hi", finish_reason="stop", model=ModelIdentity(provider="p", model="m"))
    return journal_bytes(
        (
            entry_for(Path(0, 0, 0, 0, 1), "A", asked, digest_of(asked.document()), offer),
            entry_for(Path(1, 1, 0), "A", shown, digest_of(shown.document()), answer),
        )
    )


@given(st.lists(st.sampled_from("[{"), min_size=50, max_size=80))
async def test_a_schema_is_let_in_exactly_if_a_journal_that_holds_it_can_be_read(brackets: list[str]) -> None:
    offer = Offer(tools=(ToolDefinition(name="t", parameters=nested(brackets)),))
    try:
        read_journal(written(offer))
    except InvalidError:
        with pytest.raises(InvalidError, match=r"mcp_malformed: files offers tools that a journal cannot hold: .*nested"):
            await offering(nested(brackets)).offer("files")
    else:
        assert await offering(nested(brackets)).offer("files") == offer


@pytest.mark.parametrize("schema", [nested("{" * 70), nested("{" * 400), {"maximum": 2**60}], ids=["70 levels", "400", "integer"])
async def test_a_schema_that_no_journal_is_read_with_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match="mcp_malformed: files offers tools that a journal cannot hold"):
        await offering(schema).offer("files")
