"""What a request may cost: bytes, and time, unless its handler took the clock over."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orca_http.bounds import Bounds, own_time
from orca_http.problems import Problems
from orca_protocol.errors import InvalidError

PROBLEMS = Problems({409: ("taken",)})


async def read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.2)
    return PlainTextResponse("late")


async def patient(request: Request) -> Response:
    own_time(request.scope)
    return await slow(request)


async def wrong(request: Request) -> Response:
    raise InvalidError("taken", "by somebody else: \ud800")


@pytest.fixture
def client() -> httpx.AsyncClient:
    handlers = {"/read": read, "/slow": slow, "/patient": patient, "/wrong": wrong}
    app = Starlette(routes=[Route(path, handler, methods=["GET", "POST"]) for path, handler in handlers.items()])
    PROBLEMS.install(app)
    bounded = Bounds(app, PROBLEMS, body_bytes=10, seconds=0.05, log="test.access")
    return httpx.AsyncClient(transport=httpx.ASGITransport(bounded), base_url="http://test")


async def test_a_body_within_the_bound_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.post("/read", content=b"x" * 10)).text == "10"


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_longer_body_is_refused(client: httpx.AsyncClient, is_announced: bool) -> None:
    async def pieces() -> object:
        for _ in range(11):
            yield b"x"

    answer = await client.post("/read", content=b"x" * 11 if is_announced else pieces())  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (413, "body_oversize")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_request_that_takes_too_long_is_answered_503(client: httpx.AsyncClient) -> None:
    answer = await client.get("/slow")
    assert (answer.status_code, answer.json()["code"]) == (503, "request_timeout")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_handler_that_took_the_clock_over_is_not_cut_off(client: httpx.AsyncClient) -> None:
    assert (await client.get("/patient")).text == "late"


async def test_errors_become_problems_by_the_surfaces_table(client: httpx.AsyncClient) -> None:
    answer = await client.get("/wrong")
    assert answer.status_code == 409
    assert answer.json() == {
        "type": "urn:orca-node:problem:taken",
        "title": "Conflict",
        "status": 409,
        "code": "taken",
        "detail": "by somebody else: ?",
    }
    assert (await client.get("/nowhere")).json()["code"] == "not_found"
    assert (await client.delete("/read")).json()["code"] == "method_not_allowed"


async def test_each_request_is_one_line_in_the_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "test.access")
    await client.post("/read?secret=1", content=b"abc")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "test.access"]
    assert line.startswith("POST '/read' 200 ")
