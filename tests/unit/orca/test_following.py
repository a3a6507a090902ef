"""A run's events over HTTP come once each, whatever interrupts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from orca import following
from orca.following import Told, follow
from orca_protocol.errors import InvalidError, UnavailableError
from tests.integration.proof_store.serving import scripted


def event(number: int, kind: str = "delta") -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps({'number': number, 'text': str(number)})}\n\n".encode()


def stream(*parts: bytes, status: int = 200, length: int | None = None) -> bytes:
    body = b"".join(parts)
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Type: text/event-stream\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Streams:
    """Gives these answers one after the other, the last again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, line: str, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()


@asynccontextmanager
async def followed(answer: Callable[..., object]) -> AsyncIterator[AsyncIterator[Told]]:
    async with scripted(answer) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:  # type: ignore[arg-type]
        yield follow(http, "run")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_AGAIN", 0.001)


async def numbers(events: AsyncIterator[Told]) -> list[int]:
    return [told.number async for told in events]


async def test_events_come_to_the_last_one_and_no_further() -> None:
    streams = Streams(stream(event(1), event(2), event(3, "finished"), event(4)))
    async with followed(streams) as events:
        assert await numbers(events) == [1, 2, 3]
    assert streams.asked == 1


@pytest.mark.parametrize(
    "interruption",
    [
        stream(event(1), length=10_000),
        stream(event(1)),
        stream(event(1), b"event: delta\ndata: {"),
        stream(event(1), b"event: delta\ndata: nonsense\n\n"),
    ],
    ids=["cut", "ended early", "half an event", "nonsense"],
)
async def test_after_an_interruption_they_go_on(interruption: bytes) -> None:
    streams = Streams(interruption, stream(b"", status=503), stream(event(2, "failed")))
    async with followed(streams) as events:
        assert await numbers(events) == [1, 2]
    assert streams.asked == 3


async def test_the_server_is_told_what_was_seen() -> None:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.extend(line for line in head.lower().split(b"\r\n") if line.startswith(b"last-event-id"))
        writer.write(stream(event(7), length=9999) if len(seen) == 1 else stream(event(8, "finished")))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as http:
        assert await numbers(follow(http, "run")) == [7, 8]
    assert seen == [b"last-event-id: 0", b"last-event-id: 7"]


@pytest.mark.parametrize("answer", [stream(b"", status=503), stream(b"", status=429), b"", stream(b""), stream(b"<html></html>")])
async def test_a_server_that_stays_away_or_says_nothing_is_given_up(answer: bytes) -> None:
    streams = Streams(answer)
    async with followed(streams) as events:
        with pytest.raises(UnavailableError, match="stream_broken"):
            await numbers(events)
    assert streams.asked == following._TRIES + 1


@pytest.mark.parametrize("status", [401, 404, 410, 302])
async def test_a_refusal_is_not_asked_again(status: int) -> None:
    streams = Streams(stream(b"", status=status))
    async with followed(streams) as events:
        with pytest.raises(InvalidError, match=f"run_unfollowed.*{status}"):
            await numbers(events)
    assert streams.asked == 1
