"""How a node asks a middle server: against the real one, and against servers that do everything wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orca_agent.rounds import middle
from orca_agent.rounds.middle import MiddleClient, MiddleReader
from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from tests.integration.middle_server.room import cid_of
from tests.integration.proof_store.serving import scripted
from tests.unit.koii_chain.tasks import TASK
from tests.unit.orca_agent.rounds.serving import GATEWAY, ServedRoom, identity, served_room


@pytest.fixture
async def room(middle_url: str) -> AsyncIterator[ServedRoom]:
    async with served_room(middle_url) as made:
        yield made


@asynccontextmanager
async def client_at(url: str, *, patience: float = 0.0, seconds: float = 5.0) -> AsyncIterator[MiddleClient]:
    client = MiddleClient(url, TASK, identity(), patience=patience, seconds=seconds)
    try:
        yield client
    finally:
        await client.close()


def reply(status: int, body: Any, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


class Answers:
    """A server that gives these replies one after the other, the last one again and again."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    async def __call__(self, line: str, writer: asyncio.StreamWriter) -> None:
        self.asked.append(line)
        writer.write(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        await writer.drain()


# -- the real server ----------------------------------------------------------------------------------------------------------


async def test_a_node_leases_reports_and_enters_a_round(room: ServedRoom) -> None:
    item = await room.item()
    node = room.client_of()
    todo = await node.fetch_todo("claim-of-16-chars")
    assert todo.id == item
    await node.beat(todo, GATEWAY)
    await node.report(todo, cid_of("proof"))
    await node.enter_round(todo, 7)
    (result,) = await node.results(7)
    assert (result.work_item, result.worker, result.cid) == (item, identity().key, cid_of("proof"))
    assert result.required_checks == ["integrity", "authenticity", "replay"]
    now = await node.lease_now(item)
    assert (now.fencing_token, now.cid, now.round) == (todo.fencingToken, cid_of("proof"), 7)
    room.chain.paid_out[7] = {identity().key: 1_500_000}
    await node.settle(7)
    assert await room.status(item) == "done"


async def test_a_server_knows_the_gateway_of_who_announced_it(room: ServedRoom) -> None:
    node = room.client_of()
    await node.announce(GATEWAY)
    assert await node.peers() == {identity().key: GATEWAY}


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda node: node.fetch_todo("claim-of-16-chars"), "nothing_available"),
        (lambda node: node.fetch_todo("short"), "request_schema"),
        (lambda node: node.settle(3), "distribution_absent"),
        (lambda node: node.lease_now("0" * 32), "work_item_unknown"),
    ],
)
async def test_a_refusal_keeps_the_servers_own_code(
    room: ServedRoom, ask: Callable[[MiddleClient], Awaitable[Any]], code: str
) -> None:
    node = room.client_of()
    with pytest.raises(InvalidError) as refused:
        await ask(node)
    assert refused.value.code == code


class Losing:
    """Does what is asked, and loses the first reply on the way."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or "worker" not in scope["path"]:
            await self.app(scope, receive, send)
            return
        body = bytearray()

        async def read() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        said: list[Message] = []

        async def keep(message: Message) -> None:
            said.append(message)

        await self.app(scope, read, keep)
        self.bodies.append(bytes(body))
        if len(self.bodies) == 1:  # it begins, and the connection ends
            said[-1] = {**said[-1], "body": said[-1]["body"][:10]}
        for message in said:
            await send(message)


async def test_a_reply_that_was_lost_is_got_by_the_same_bytes(middle_url: str) -> None:
    losing: list[Losing] = []

    def wrap(app: ASGIApp) -> ASGIApp:
        losing.append(Losing(app))
        return losing[0]

    async with served_room(middle_url, wrap=wrap) as room:
        item = await room.item()
        node = room.client_of()
        todo = await node.fetch_todo("claim-of-16-chars")
        assert todo.id == item
        assert room.sql("SELECT count(*) FROM middle.leases") == [(1,)]
    first, second = losing[0].bodies
    assert first == second


# -- servers that do it wrong -------------------------------------------------------------------------------------------------


async def test_a_server_that_is_busy_is_asked_again_and_its_wish_is_known_in_the_end() -> None:
    busy = reply(503, {"code": "chain_unavailable", "detail": "the chain is down"}, "Retry-After: 7")
    answers = Answers(busy)
    async with scripted(answers) as url, client_at(url, patience=0.5) as node:
        with pytest.raises(UnavailableError) as gave_up:
            await node.peers()
    assert len(answers.asked) >= 2
    assert (gave_up.value.code, gave_up.value.detail, gave_up.value.retry_after) == ("chain_unavailable", "the chain is down", 7.0)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_server_that_was_busy_for_a_moment_is_no_trouble(status: int) -> None:
    answers = Answers(reply(status, {"code": "busy"}), reply(200, {"nodes": []}))
    async with scripted(answers) as url, client_at(url, patience=5.0) as node:
        assert await node.peers() == {}
    assert len(answers.asked) == 2


@pytest.mark.parametrize("wish", ["soon", "-1", "1e9", "123456", ""])
async def test_a_wish_that_is_none_is_not_followed(wish: str) -> None:
    async with scripted(Answers(reply(503, {"code": "busy"}, f"Retry-After: {wish}"))) as url, client_at(url) as node:
        with pytest.raises(UnavailableError) as busy:
            await node.peers()
    assert busy.value.retry_after is None


@pytest.mark.parametrize(
    ("document", "code", "detail"),
    [
        ({"code": "lease_ended", "detail": "two\nlines"}, "lease_ended", "two lines"),
        ({"code": "lease_ended"}, "lease_ended", "HTTP 409"),
        ({"code": "Bad Code\n", "detail": "x" * 1000}, "middle_server_refused", "x" * 300),
        ({"code": 5}, "middle_server_refused", "HTTP 409"),
        (["no", "object"], "middle_server_refused", "HTTP 409"),
    ],
)
async def test_a_refusal_is_quoted_in_one_bounded_line_and_not_asked_again(document: Any, code: str, detail: str) -> None:
    answers = Answers(reply(409, document))
    async with scripted(answers) as url, client_at(url, patience=5.0) as node:
        with pytest.raises(InvalidError) as refused:
            await node.announce(GATEWAY)
    assert (refused.value.code, refused.value.detail, len(answers.asked)) == (code, detail, 1)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b'{"a":1,"a":2}', b"\xff"])
@pytest.mark.parametrize("status", [200, 404])
async def test_what_is_not_json_is_no_answer(body: bytes, status: int) -> None:
    async with scripted(Answers(reply(status, body))) as url, client_at(url) as node:
        with pytest.raises(UnavailableError, match="middle_server_unavailable"):
            await node.announce(GATEWAY)


@pytest.mark.parametrize("document", [[], {}, {"nodes": {}}, {"nodes": [{"gateway": "g"}]}, {"nodes": [{"staking_key": 1}]}])
async def test_what_is_something_else_is_no_answer(document: Any) -> None:
    async with scripted(Answers(reply(200, document))) as url, client_at(url) as node:
        with pytest.raises(UnavailableError, match="middle_server_malformed"):
            await node.peers()


async def test_what_is_new_in_an_answer_is_passed_over() -> None:
    document = {"nodes": [{"staking_key": "k", "gateway": "g", "since": 1}, {"staking_key": "silent", "gateway": None}], "more": 1}
    async with scripted(Answers(reply(200, document))) as url, client_at(url) as node:
        assert await node.peers() == {"k": "g"}


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_nobody_follows_a_redirect_or_takes_it_for_an_answer(status: int) -> None:
    async with scripted(Answers(reply(200, {"success": True}))) as elsewhere:
        answers = Answers(reply(status, {"success": True}, f"Location: {elsewhere}/"))
        async with scripted(answers) as url, client_at(url) as node:
            with pytest.raises(UnavailableError, match="middle_server_moved"):
                await node.announce(GATEWAY)
    assert len(answers.asked) == 1


async def test_an_answer_beyond_the_bound_is_cut_off_and_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middle, "ANSWER_MAX_BYTES", 1000)
    answers = Answers(reply(200, {"nodes": [], "filler": "x" * 200_000}))
    async with scripted(answers) as url, client_at(url, patience=5.0) as node:
        with pytest.raises(LimitError, match="answer_oversize"):
            await node.peers()
    assert len(answers.asked) == 1


async def test_a_server_that_never_ends_its_answer_is_given_up() -> None:
    async def drip(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with scripted(drip) as url, client_at(url, seconds=0.3) as node:
        with pytest.raises(UnavailableError, match="middle_server_unavailable"):
            await node.peers()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with scripted(Answers(b"")) as url:
        pass
    async with client_at(url) as node:
        with pytest.raises(UnavailableError, match="middle_server_unavailable"):
            await node.peers()


@pytest.mark.parametrize("item", ["", "../nodes", "a?b", "A" * 32, "0" * 65, "a b"])
async def test_an_id_that_no_server_gives_is_not_asked_for(item: str) -> None:
    answers = Answers(reply(200, {}))
    async with scripted(answers) as url, client_at(url) as node:
        with pytest.raises(InvalidError, match="work_item_unknown"):
            await node.lease_now(item)
    assert answers.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "middle.example",
        "ftp://middle.example",
        "http://",
        "http://user@middle.example",
        "http://:secret@middle.example",
        "http://middle.example?x=1",
        "http://middle.example#x",
        "http://middle.example:99999",
        "http://middle.example:0",
        "http://[::1",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidError, match="bad_url"):
        MiddleReader(url, TASK)
