"""The model server of the bench: OpenAI-compatible, always the same answer, after exactly the latency that was asked for.

``python -m tests.bench.model_server LATENCY_MS SECONDS`` prints its port. It parses no more than it must, keeps nothing, and
spins for the last millisecond before an answer is due, because timers are no finer than that: what is measured must be its
client. ``GET /stats`` says how many calls there were, how many at once at most, over how many connections, and how late
the latest answer was written; asking starts the counts anew.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

ROOT = Path(__file__).parents[2]
_TEXT = (
    "Spending on infrastructure for artificial intelligence keeps growing, led by a few sectors and by falling unit costs; "
    "adoption elsewhere follows with a delay of some quarters."
)
_COMPLETION = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1767225600,
    "model": "scripted",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50},
}
_SPIN_SECONDS = 0.0015


def response(document: Any) -> bytes:
    """Return the bytes of an answer."""
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWER = response(_COMPLETION)
MODELS = response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})


class Counter:
    """What is due, and what was."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, asyncio.Transport]] = deque()
        self._is_set = False
        self.forget()

    def forget(self) -> None:
        """Start counting anew."""
        self.calls = self.in_flight_max = self.connections = 0
        self.late_ms = 0.0

    def add(self, transport: asyncio.Transport) -> None:
        """Take a call."""
        self.calls += 1
        self._due.append((self._loop.time() + self._latency, transport))
        self.in_flight_max = max(self.in_flight_max, len(self._due))
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        self._is_set = True
        left = self._due[0][0] - self._loop.time()
        if left > _SPIN_SECONDS:
            self._loop.call_later(left - _SPIN_SECONDS, self._answer)
        else:
            self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        self._is_set = False
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            due, transport = self._due.popleft()
            if not transport.is_closing():
                transport.write(ANSWER)
            self.late_ms = max(self.late_ms, (now - due) * 1000)
        if self._due:
            self._set()


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._counter.connections += 1

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            found = head.find(b"content-length:")
            size = 0 if found < 0 else int(head[found + 15 :].split(b"\r\n", 1)[0])
            if len(data) < end + 4 + size:
                break
            data = data[end + 4 + size :]
            self._take(head)
        self._buffer = data

    def _take(self, head: bytes) -> None:
        assert self._transport is not None
        counter = self._counter
        if head.startswith(b"post"):
            counter.add(self._transport)
        elif b"/stats" in head.split(b"\r\n", 1)[0]:
            names = ("calls", "in_flight_max", "connections", "late_ms")
            self._transport.write(response({name: getattr(counter, name) for name in names}))
            counter.forget()
        else:
            self._transport.write(MODELS)


async def serve(latency: float, seconds: float) -> None:
    """Serve on loopback for so long; says its port first."""
    counter = Counter(latency)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counter), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(seconds)


@dataclass(frozen=True)
class ModelServer:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Return what there was since the last time."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as answer:
            return dict(json.load(answer))


@contextmanager
def model_server(latency_ms: float, *, core: int | None) -> Iterator[ModelServer]:
    """Run one in a process of its own for the length of the block, on that core."""
    command = [sys.executable, "-m", "tests.bench.model_server", str(latency_ms), "7200"]
    command = command if core is None else ["taskset", "-c", str(core), *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ModelServer(int(process.stdout.readline()))
        finally:
            process.terminate()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) / 1000, float(sys.argv[2])))
