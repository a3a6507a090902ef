"""A JSON-RPC endpoint that behaves as its plain attributes say: answers, refuses, lies, breaks off or says nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class RpcEndpoint:
    """Answers by method from ``results``; everything else is a fault that a test switches on."""

    def __init__(self) -> None:
        #: method → result, or a JSON-RPC error where the value is an ``Exception`` holding one
        self.results: dict[str, Any] = {}
        self.calls: list[tuple[str, list[Any]]] = []
        #: instead of 200
        self.status = 200
        self.headers: dict[str, str] = {}
        #: instead of a JSON-RPC answer
        self.body: bytes | None = None
        self.hangs = False
        #: breaks off after so many bytes of its answer
        self.cut: int | None = None
        self.address = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RpcEndpoint]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.split("content-length:")[1].split("\r\n")[0])
            request = json.loads(await reader.readexactly(size))
            self.calls.append((request["method"], request["params"]))
            if self.hangs:
                await reader.read()
                return
            body = self.body if self.body is not None else self._answer(request)
            lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(body)}", "connection: close"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[: self.cut])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough
        finally:
            writer.close()

    def _answer(self, request: dict[str, Any]) -> bytes:
        result = self.results[request["method"]]
        part = {"error": result.args[0]} if isinstance(result, Exception) else {"result": result}
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], **part}).encode()
