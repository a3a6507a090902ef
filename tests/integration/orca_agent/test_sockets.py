"""The events of a run over a WebSocket, by a client of its own: the same as over server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.integration.orca_agent.conftest import KEY
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service, service, spec_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADER = {"x-api-key": KEY}


def address(shared: Service, run_id: str, query: str = "") -> str:
    return f"{shared.address.replace('http', 'ws')}/ws/{run_id}{query}"


def offered(key: str) -> list[Subprotocol]:
    return [Subprotocol("orca.events"), Subprotocol("orca.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("="))]


async def read(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Everything until the end, without the signs of life, and the code of the end."""
    told: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(10):
            while True:
                message = json.loads(await socket.recv())
                if message != {"event": "alive"}:
                    told.append(message)
    except ConnectionClosed:
        return told, socket.close_code


async def test_the_events_are_those_of_the_stream_and_the_end_is_said(shared: Service) -> None:
    run_id = await shared.store(spec_of("A", "B"))
    async with connect(address(shared, run_id), additional_headers=HEADER) as socket:
        told, code = await read(socket)
    assert code == 1000
    streamed = await shared.follow(run_id)
    assert [(one["id"], one["event"], one["data"]) for one in told] == [(one.id, one.kind, one.data) for one in streamed]
    assert told[-1]["event"] == "finished"


async def test_nothing_is_missed_by_who_comes_again(shared: Service, talker: Talker) -> None:
    go_on = asyncio.Event()
    talker.scripts = [["one ", go_on, "two"]]
    run_id = await shared.store(spec_of("A"))
    async with connect(address(shared, run_id), additional_headers=HEADER) as socket:
        first = [json.loads(await socket.recv()) for _ in range(3)]
    go_on.set()
    async with connect(address(shared, run_id, f"?last_event_id={first[-1]['id']}"), additional_headers=HEADER) as socket:
        rest, code = await read(socket)
    assert [one["id"] for one in [*first, *rest]] == list(range(1, len(first) + len(rest) + 1))
    assert (rest[-1]["event"], code) == ("finished", 1000)
    async with connect(address(shared, run_id, f"?last_event_id={rest[-1]['id']}"), additional_headers=HEADER) as socket:
        assert await read(socket) == ([], 1000)


async def test_silence_is_filled(shared: Service, talker: Talker) -> None:
    go_on = asyncio.Event()
    talker.scripts = [[go_on]]
    run_id = await shared.store(spec_of("A"))
    async with connect(address(shared, run_id), additional_headers=HEADER) as socket, asyncio.timeout(10):
        while json.loads(await socket.recv()) != {"event": "alive"}:
            pass
    go_on.set()


async def test_a_browsers_key_comes_as_a_subprotocol_and_is_not_sent_back(shared: Service) -> None:
    run_id = await shared.store(spec_of("A"))
    async with connect(address(shared, run_id), subprotocols=offered(KEY)) as socket:
        assert socket.subprotocol == "orca.events"
        assert socket.response is not None
        assert "key" not in str(socket.response.headers)
        assert (await read(socket))[1] == 1000


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"additional_headers": {"x-api-key": "wrong"}},
        {"subprotocols": offered("wrong")},
        {"subprotocols": [Subprotocol("orca.key.!!!")]},
        {"subprotocols": [Subprotocol("orca.events")]},
    ],
)
async def test_a_stranger_gets_no_socket(shared: Service, more: dict[str, Any]) -> None:
    run_id = await shared.store(spec_of("A"))
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(shared, run_id), **more)
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body or b"")["code"].startswith("credentials_")


@pytest.mark.parametrize(
    ("run", "query", "wanted"),
    [("0" * 36, "", 404), ("x", "", 404), (None, "?last_event_id=x", 400), (None, "?last_event_id=-1", 400)],
)
async def test_what_cannot_be_followed_is_a_problem(shared: Service, run: str | None, query: str, wanted: int) -> None:
    run_id = run or await shared.store(spec_of("A"))
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(shared, run_id, query), additional_headers=HEADER)
    assert caught.value.response.status_code == wanted
    assert json.loads(caught.value.response.body or b"")["status"] == wanted


async def test_forgotten_events_are_said_to_be(shared: Service, own_database: str) -> None:
    run_id = await shared.store(spec_of("A"))
    await shared.follow(run_id)
    async with await psycopg.AsyncConnection.connect(own_database, autocommit=True) as db:
        await db.execute("DELETE FROM orca_agent.events WHERE run_id = %s", (run_id,))
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(shared, run_id), additional_headers=HEADER)
    assert caught.value.response.status_code == 410


@pytest.mark.parametrize("sent", ["hello", b"bytes"])
async def test_who_talks_to_it_is_not_heard(shared: Service, talker: Talker, sent: str | bytes) -> None:
    go_on = asyncio.Event()
    talker.scripts = [[go_on]]
    run_id = await shared.store(spec_of("A"))
    async with connect(address(shared, run_id), additional_headers=HEADER) as socket:
        await socket.recv()
        await socket.send(sent)
        assert (await read(socket))[1] == 1003
    go_on.set()
    await shared.ended(run_id)


async def test_a_foreign_page_gets_no_socket(shared: Service) -> None:
    run_id = await shared.store(spec_of("A"))
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(shared, run_id), additional_headers=HEADER, origin="https://evil.example")  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403


async def test_a_service_that_stops_says_come_again(shared: Service, talker: Talker, own_database: str) -> None:
    go_on = asyncio.Event()
    talker.scripts = [[go_on]]
    run_id = await shared.store(spec_of("A"))
    async with service(own_database, works=False) as other, connect(address(other, run_id)) as socket:
        await socket.recv()
        other.services.stopping.set()
        assert (await read(socket))[1] in {1001, 1012}, "ours, or the server's own word for it"
    go_on.set()
    await shared.ended(run_id)
