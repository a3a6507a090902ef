"""A model server that does what servers must not do: each fault is a function that writes to a real connection on loopback.

It runs in the loop of the test that uses it. Which fault a request gets is said in its prompt, ``FAULT[name]``; a name has one
fault or several in turn, of which the last one comes again and again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Fault = Callable[["Misbehaving", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Misbehaving:
    """A running server. ``anthropic`` is which wire format its sound answers have."""

    faults: Mapping[str, Sequence[Fault]]
    anthropic: bool
    port: int = 0
    #: by the name of their fault
    requests: dict[str, list[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its base URL, as the wire format wants it."""
        return f"http://127.0.0.1:{self.port}" + ("" if self.anthropic else "/v1")

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send ``data`` as far as the other side takes it."""
        writer.write(data)
        await writer.drain()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request, one fault."""
        try:
            await self._exchange(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):  # the other side has had enough
            pass
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
        body = (await reader.readexactly(length)).decode()
        name = next(name for name in self.faults if marker(name) in body)
        asked = self.requests.setdefault(name, [])
        asked.append(head + body)
        await self.faults[name][min(len(asked), len(self.faults[name])) - 1](self, writer)


@asynccontextmanager
async def misbehaving(faults: Mapping[str, Sequence[Fault]], *, anthropic: bool = False) -> AsyncIterator[Misbehaving]:
    """Run such a server for the length of the block."""
    server = Misbehaving(faults, anthropic)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # sockets close in the loop


def marker(name: str) -> str:
    """What a prompt says to get the fault of that name."""
    return f"FAULT[{name}]"


def head(status: int = 200, *headers: str, length: int | None = None) -> bytes:
    """The head of a response; without ``length`` its body ends with the connection, unless a header says otherwise."""
    lines = [f"HTTP/1.1 {status} Scripted", "Content-Type: application/json", "Connection: close"]
    lines += [*headers]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def says(body: bytes, status: int = 200, *headers: str, off_by: int = 0) -> Fault:
    """Answer with ``body``; its length is said to be ``off_by`` more than it is."""

    async def fault(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
        await server.write(writer, head(status, *headers, length=len(body) + off_by) + body)

    return fault


def drips(first: bytes, piece: bytes, pause: float) -> Fault:
    """Send ``first`` and then ``piece`` for ever, a pause after each."""

    async def fault(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
        await server.write(writer, first)
        while True:
            await server.write(writer, piece)
            await asyncio.sleep(pause)

    return fault


def raw(data: bytes) -> Fault:
    """Send bytes that need not be HTTP, and hang up."""

    async def fault(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
        await server.write(writer, data)

    return fault


async def hangs(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.sleep(3600)


async def answers(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
    """Behave."""
    await says(json.dumps(sound(server.anthropic)).encode())(server, writer)


def sound(anthropic: bool, content: Any = "fine") -> dict[str, Any]:
    """A whole answer in either format."""
    if anthropic:
        usage = {"input_tokens": 1, "output_tokens": 1}
        return {
            "type": "message",
            "model": "m",
            "content": [{"type": "text", "text": content}],
            "stop_reason": "end_turn",
            "usage": usage,
        }
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def delta(anthropic: bool, text: str) -> bytes:
    """One streamed piece in either format."""
    if anthropic:
        event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        return f"event: content_block_delta\ndata: {json.dumps(event)}\n\n".encode()
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n".encode()
