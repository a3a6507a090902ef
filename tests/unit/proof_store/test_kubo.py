"""Kubo's RPC when it is not as it should be: silent, refusing, lying, endless. The real daemon is in tests/integration/kubo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.kubo import KuboStore, gateway_of
from proof_store.kubo_rpc import KuboRpc, parse_rpc_url
from tests.integration.proof_store.serving import served

BLOCKS = MemoryBlocks()
ROOT = build_directory({"output.json": b"{}"}, BLOCKS).cid


@asynccontextmanager
async def kubo(says: dict[str, Response]) -> AsyncIterator[tuple[KuboStore, list[tuple[str, str | None, int]]]]:
    """A store over an RPC that says what it is told to; and what it was asked, with which authorization, with how many bytes."""
    asked: list[tuple[str, str | None, int]] = []

    async def answer(request: Request) -> Response:
        command = request.path_params["command"]
        asked.append((command, request.headers.get("authorization"), len(await request.body())))
        return says.get(command) or JSONResponse({"Message": "no such command", "Code": 0, "Type": "error"}, 500)

    async with served(Starlette(routes=[Route("/api/v0/{command:path}", answer, methods=["POST"])])) as url:
        store = KuboStore(KuboRpc(url, SecretStr("word")))
        yield store, asked
        await store.close()


async def code_of(awaited: Any) -> str:
    with pytest.raises(UnavailableError) as caught:
        await awaited
    return caught.value.code


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (JSONResponse({"Root": {"Cid": {"/": str(ROOT)}, "PinErrorMsg": "block was not found locally"}}), "kubo_refused"),
        (JSONResponse({"Root": {"Cid": {"/": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"}}}), "kubo_unclear"),
        (JSONResponse({"Stats": {"BlockCount": 2}}), "kubo_unclear"),
        (Response(b""), "kubo_unclear"),
        (Response(b"[]"), "kubo_unclear"),
        (Response(b"[" * 100_000), "kubo_unclear"),
        (Response(b"x" * 2_000_000), "answer_oversize"),
        (JSONResponse({"Message": "no"}, 403), "kubo_forbidden"),
        (Response(b"\xff", 500), "kubo_refused"),
        (Response(status_code=301, headers={"Location": "http://127.0.0.1:1/"}), "kubo_refused"),
    ],
)
async def test_only_its_word_for_this_root_is_a_pin(says: Response, code: str) -> None:
    async with kubo({"dag/import": says}) as (store, asked):
        assert await code_of(store.pin(ROOT, BLOCKS)) == code
        assert asked[0][:2] == ("dag/import", "Bearer word")
        assert asked[0][2] > 200


async def test_pinned_and_gone_are_two_things() -> None:
    pinned = JSONResponse({"Keys": {str(ROOT): {"Type": "recursive"}}})
    async with kubo({"pin/ls": pinned, "block/get": JSONResponse({"Message": "not found"}, 500)}) as (store, _):
        assert await store.is_pinned(ROOT)
        assert await code_of(store.read_back(ROOT)) == "pin_gone"
    async with kubo({"pin/ls": pinned, "block/get": Response(b"other bytes")}) as (store, _):
        assert await code_of(store.read_back(ROOT)) == "pin_gone"
    async with kubo({"pin/ls": pinned, "block/get": Response(b"x" * 1_100_000)}) as (store, _):
        assert await code_of(store.read_back(ROOT)) == "answer_oversize"
    async with kubo({"pin/ls": JSONResponse({"Message": f"path '{ROOT}' is not pinned"}, 500)}) as (store, _):
        assert not await store.is_pinned(ROOT)
        assert await code_of(store.read_back(ROOT)) == "pin_gone"


async def test_what_listens_where_its_gateway_should_be_is_asked_first_whether_it_is_one() -> None:
    async with served(Starlette()) as other:
        address = f"/ip4/127.0.0.1/tcp/{other.rpartition(':')[2]}"
        says: dict[str, Response] = {
            "version": JSONResponse({"Version": "0.38.1"}),
            "repo/stat": JSONResponse({"RepoSize": 1_048_576}),
            "config": JSONResponse({"Key": "Addresses.Gateway", "Value": address}),
        }
        async with kubo(says) as (store, _):
            assert (await store.state()).endswith("1.0 MiB in it; read back by its RPC, for it has no gateway")


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("/ip4/127.0.0.1/tcp/8080", "http://127.0.0.1:8080"),
        (["/ip6/::1/tcp/81/http"], "http://[::1]:81"),
        (["/ip4/0.0.0.0/tcp/8080"], "http://127.0.0.1:8080"),
        (["/unix/run/gateway", "/dns4/localhost/tcp/80"], "http://localhost:80"),
        ("/ip4/127.0.0.1/tcp/0", None),
        ([], None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_a_gateway_is_read_from_the_daemons_configuration(value: object, url: str | None) -> None:
    assert gateway_of(value) == url


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_daemon_that_is_not_one(text: str) -> None:
    try:
        url = parse_rpc_url(text)
    except InvalidError as error:
        assert error.code in ("kubo_url", "kubo_url_remote")
    else:
        assert url.startswith(("http://", "https://"))
