"""A real MCP server on loopback, by the protocol's own package, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN = "a-token-of-the-tests"


@dataclass
class Running:
    """Where the server is, and what it was asked."""

    url: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: what came in ``Authorization``
    tokens: set[str] = field(default_factory=set)


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Serve until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    told = Running(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")
    app = _Noting(_server(told).streamable_http_app(), told)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield told
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(timeout=20)
        listening.close()


def _server(told: Running) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("tests")

    @server.tool()
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        told.calls.append(("add", {"a": a, "b": b}))
        return str(a + b)

    @server.tool()
    def say(size: int) -> str:
        """Says something long."""
        return "é" * size

    @server.tool()
    def fail(why: str) -> str:
        """Fails."""
        raise ToolError(why)

    @server.tool()
    async def dawdle() -> str:
        """Takes long."""
        import anyio

        await anyio.sleep(30)
        return "late"

    return server


class _Noting:
    """Notes which tokens came."""

    def __init__(self, app: ASGIApp, told: Running) -> None:
        self._app = app
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._told.tokens.add(dict(scope["headers"]).get(b"authorization", b"").decode())
        await self._app(scope, receive, send)
