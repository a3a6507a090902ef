"""A service on loopback answers to its own names only."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orca_http.local import LocalOnly, is_loopback
from orca_http.problems import Problems


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def ask(**headers: str) -> tuple[int, str]:
    app = LocalOnly(Starlette(routes=[Route("/", hello)]), Problems({}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get("/", headers=headers)
    return answer.status_code, answer.json()["code"] if answer.status_code != 200 else answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:80", "127.8.8.8", "[::1]:9", "localhost."])
async def test_its_own_names_are_answered(host: str) -> None:
    assert await ask(host=host) == (200, "hello")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[", "a@b", "10.0.0.0"]
)
async def test_other_names_are_refused(host: str) -> None:
    assert await ask(host=host) == (403, "host_foreign")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
async def test_pages_of_other_sites_are_refused(origin: str) -> None:
    assert await ask(origin=origin) == (403, "origin_foreign")


async def test_a_page_of_this_machine_is_answered() -> None:
    assert await ask(origin="http://localhost:5173") == (200, "hello")


def test_what_loopback_is() -> None:
    assert [host for host in ("localhost", "127.0.0.1", "::1", "[::1]") if not is_loopback(host)] == []
    assert [host for host in ("::", "", "example.com", "192.168.0.1") if is_loopback(host)] == []
