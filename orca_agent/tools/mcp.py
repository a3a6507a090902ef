"""Tools of MCP servers (Model Context Protocol, streamable HTTP), by the protocol's own client.

Only servers that the operator named are ever asked, each with the token that belongs to it. A run has a session of its own with
each server that it uses, from its first question to its end. Nothing is asked twice: a tool may have done something. Sizes and
times are bounded; results are text, and what is none is named and left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.seen import Seen, seen_now, watching
from orca_protocol.canonical import MAX_DEPTH, canonical, parse_json
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import ToolDefinition
from orca_protocol.world import OFFERED_MAX, RESULT_MAX_BYTES, Offer, ToolRequest, ToolResult

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

log = logging.getLogger(__name__)

_OFFER_MAX_BYTES = 1024 * 1024
#: in an entry it stands one level down, and requests that show its tools hold them no deeper
_OFFER_MAX_DEPTH = MAX_DEPTH - 1
_PAGES_MAX = 20


@dataclass(slots=True)
class McpSessions:
    """The sessions of one run."""

    settings: McpSettings
    _held: dict[str, _Session] = field(default_factory=dict)

    async def offer(self, source: str) -> Offer:
        """Return the tools of ``source``. Raises InvalidError ``mcp_not_admitted``, ``mcp_malformed``; the others ``mcp_…``."""
        session = self._session(source)
        tools: list[ToolDefinition] = []
        cursor: str | None = None
        with _translated(source):
            async with asyncio.timeout(self.settings.call_seconds):
                client = await session.client()
                for _ in range(_PAGES_MAX):
                    page = await client.list_tools(cursor=cursor)
                    tools += [_definition(tool.name, tool.description, tool.input_schema) for tool in page.tools]
                    cursor = page.next_cursor
                    if cursor is None or len(tools) > OFFERED_MAX:
                        break
        if cursor is not None or len(tools) > OFFERED_MAX:
            raise LimitError("mcp_too_many_tools", f"{source} offers more than {OFFERED_MAX} tools; select some there")
        offer = Offer(tools=tuple(tools))
        _refuse_unwritable(offer, source)
        return offer

    async def call(self, request: ToolRequest) -> ToolResult:
        """Call a tool once. Raises as ``offer`` does; what the tool itself says of a failure is a result."""
        session = self._session(request.source)
        with _translated(request.source):
            async with asyncio.timeout(self.settings.call_seconds):
                client = await session.client()
                result = await client.call_tool(request.tool, json.loads(request.arguments))
        return ToolResult.of(_clipped(_text(result)), is_error=result.is_error)

    async def close(self) -> None:
        """End all sessions."""
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*(session.close() for session in held))

    def _session(self, source: str) -> _Session:
        server = self.settings.named(source)
        if server.name not in self._held:
            self._held[server.name] = _Session(server, self.settings)
        return self._held[server.name]


class _Session:
    """One session, held open by a task of its own: the protocol's client must be closed where it was opened."""

    def __init__(self, server: McpServer, settings: McpSettings) -> None:
        self._server = server
        self._settings = settings
        self._closing = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None

    async def client(self) -> Client:
        """Return the open client; opens it where there is none, or the last one broke off."""
        if self._client is None or self._holding is None or self._holding.done():
            self._client = asyncio.get_running_loop().create_future()
            self._holding = asyncio.create_task(self._hold(self._client), name=f"mcp {self._server.name}")
        return await asyncio.shield(self._client)

    async def close(self) -> None:
        self._closing.set()
        if self._holding is not None:
            await asyncio.wait([self._holding], timeout=self._settings.connect_seconds)
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)

    async def _hold(self, opened: asyncio.Future[Client]) -> None:
        from orca_agent.tools.mcp_client import connected  # the protocol's package takes half a second to load

        try:
            async with connected(self._server, self._settings) as client:
                opened.set_result(client)
                await self._closing.wait()
        except (Exception, asyncio.CancelledError) as error:
            if not opened.done():
                opened.set_exception(error if isinstance(error, Exception) else UnavailableError("mcp_closed", "the run has ended"))
                opened.exception()  # whoever asked gets it; nobody may be left to
            elif isinstance(error, asyncio.CancelledError):
                raise
            else:
                log.info("the session with %s broke off: %s", self._server.name, seen_now().describe(error))


@contextmanager
def _translated(source: str) -> Iterator[None]:
    """Let only the OrcaError family (and cancellation) out of the block."""
    with watching() as seen:
        try:
            yield
        except OrcaError:
            raise
        except Exception as error:
            raise _meant(error, seen, source) from error


def _meant(error: Exception, seen: Seen, source: str) -> OrcaError:
    if seen.limit is not None:  # the protocol's client says only that its connection broke, or waits for more
        return LimitError(seen.limit.code, f"{source}: {seen.limit.detail}")
    if isinstance(error, TimeoutError):
        return UnavailableError("mcp_timeout", f"{source} did not answer in time")
    if isinstance(error, ValidationError):
        return InvalidError("mcp_malformed", f"{source} answered with what is no such answer: {error.error_count()} differences")
    return UnavailableError("mcp_failed", f"{source} could not be asked: {seen.describe(error)}")


def _refuse_unwritable(offer: Offer, source: str) -> None:
    """Raise what keeps ``offer`` out of a journal: its size, or that a reader of the journal would refuse the line."""
    try:
        data = canonical(offer.document())
        if len(data) <= _OFFER_MAX_BYTES:
            parse_json(data, max_bytes=_OFFER_MAX_BYTES, max_depth=_OFFER_MAX_DEPTH, where="the offer")
            return
    except (InvalidError, ValueError) as error:  # ValueError: nested too deep even to be written
        why = error.detail if isinstance(error, InvalidError) else "they are nested too deep"
        raise InvalidError("mcp_malformed", f"{source} offers tools that a journal cannot hold: {why}") from error
    raise LimitError("mcp_too_many_tools", f"the tools of {source} take more than {_OFFER_MAX_BYTES} bytes to describe")


def _definition(name: str, description: str | None, parameters: dict[str, Any]) -> ToolDefinition:
    return ToolDefinition(name=name, description=description, parameters=parameters)


def _text(result: CallToolResult) -> str:
    parts = [_shown(block.model_dump(mode="json", by_alias=True, exclude_none=True)) for block in result.content]
    if not parts and result.structured_content is not None:
        return canonical(result.structured_content).decode()
    return "\n".join(parts)


def _shown(block: dict[str, Any]) -> str:
    """Return the text of a block, or what it is instead."""
    match block:
        case {"type": "text", "text": text} | {"type": "resource", "resource": {"text": text}}:
            return str(text)
        case {"type": "resource_link", "uri": uri}:
            return f"[a link to {uri}]"
        case {"type": kind}:
            return f"[{kind}, {block.get('mimeType', 'of no stated type')}: not shown]"
        case _:
            return "[nothing that can be shown]"


def _clipped(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= RESULT_MAX_BYTES:
        return data.decode()
    mark = f"\n[cut off here: the result has {len(data)} bytes]"
    return data[: RESULT_MAX_BYTES - len(mark.encode())].decode(errors="ignore") + mark
