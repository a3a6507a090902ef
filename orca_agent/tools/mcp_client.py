"""The protocol's own client over HTTP, within our bounds: no redirects to elsewhere, no proxy of the environment, capped answers.

Apart from ``mcp``, which imports this only when a run first asks a server: the protocol's package takes half a second to load.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.seen import Seen, seen_now
from orca_protocol.errors import LimitError

# Both write the server's URL, which may hold a key; what goes wrong comes out as an error of ours. It is a filter because uvicorn
# enables every logger again when it sets up its own.
for _chatty in ("mcp.client.streamable_http", "httpx2"):
    logging.getLogger(_chatty).addFilter(lambda record: False)


@asynccontextmanager
async def connected(server: McpServer, settings: McpSettings) -> AsyncIterator[Client]:
    """Yield a client of ``server`` that has introduced itself."""
    headers = {"User-Agent": "orca-node", "Accept-Encoding": "identity"}
    if server.token is not None:
        headers["Authorization"] = f"Bearer {server.token.get_secret_value()}"
    timeout = httpx2.Timeout(settings.connect_seconds, read=settings.call_seconds)
    transport = _Capped(httpx2.AsyncHTTPTransport(), settings.answer_bytes)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=transport, trust_env=False) as http,
        Client(
            streamable_http_client(server.url, http_client=http, max_sse_event_size=settings.answer_bytes),
            read_timeout_seconds=settings.call_seconds,
        ) as client,
    ):
        yield client


class _Capped(httpx2.AsyncBaseTransport):
    """Cuts off answers that are longer than anything a tool should say."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, most: int) -> None:
        self._transport = transport
        self._most = most

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        seen = seen_now()
        response = await self._transport.handle_async_request(request)
        if request.method == "POST":  # questions; that a server has nothing to tell by GET is no fault
            seen.status = None if response.is_success else response.status_code
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _CappedStream(response.stream, self._most, seen)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _CappedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int, seen: Seen) -> None:
        self._stream = stream
        self._most = most
        self._seen = seen

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._most:
                self._seen.limit = LimitError("mcp_too_large", f"the server sent more than {self._most} bytes in one answer")
                raise self._seen.limit
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
