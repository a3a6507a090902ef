"""A pinning service as the specification has it, one that is slow, one that fails, and ones that say something else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.pinning_service import PinningService
from tests.integration.proof_store.serving import served

TOKEN = "the-token"


class Service:
    """One in memory: ``then`` are the statuses that a new request goes through, one for each question."""

    def __init__(self, then: list[str]) -> None:
        self.then = then
        self.requests: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.says: Response | None = None
        self.app = Starlette(
            routes=[
                Route("/api/pins", self.listed, methods=["GET"]),
                Route("/api/pins", self.added, methods=["POST"]),
                Route("/api/pins/{id}", self.removed, methods=["DELETE"]),
            ]
        )

    def status(self, name: str) -> dict[str, Any]:
        one = self.requests[name]
        return {"requestid": name, "status": one["status"], "created": "2026-01-01T00:00:00Z", "pin": one["pin"], "delegates": []}

    def refused(self, request: Request) -> Response | None:
        self.asked.append(f"{request.method} {request.url.path.rpartition('/')[2][:4]}")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": {"reason": "UNAUTHORIZED"}}, 401)
        return self.says

    async def listed(self, request: Request) -> Response:
        if (refused := self.refused(request)) is not None:
            return refused
        wanted = request.query_params.get("status", "pinned").split(",")
        for one in self.requests.values():
            if one["status"] != "pinned" and self.then:
                one["status"] = self.then.pop(0)
        found = [
            self.status(name)
            for name, one in self.requests.items()
            if one["status"] in wanted and request.query_params.get("cid", one["pin"]["cid"]) == one["pin"]["cid"]
        ]
        return JSONResponse({"count": len(found), "results": found})

    async def added(self, request: Request) -> Response:
        if (refused := self.refused(request)) is not None:
            return refused
        name = f"r{len(self.asked)}"
        self.requests[name] = {"status": "queued", "pin": json.loads(await request.body())}
        return JSONResponse(self.status(name), 202)

    async def removed(self, request: Request) -> Response:
        if (refused := self.refused(request)) is not None:
            return refused
        self.requests.pop(request.path_params["id"], None)
        return Response(status_code=202)


def package() -> tuple[Cid, MemoryBlocks]:
    blocks = MemoryBlocks()
    return build_directory({"output.json": b"{}"}, blocks).cid, blocks


class Scene:
    def __init__(self, service: Service, url: str, blocks: MemoryBlocks, gateway: str) -> None:
        self.service, self.url, self.blocks, self.gateway = service, url, blocks, gateway

    def store(self, token: str = TOKEN, *, gateway: bool = True) -> PinningService:
        async def origins() -> list[str]:
            return ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWExample"]

        return PinningService(f"{self.url}/api", SecretStr(token), gateway=self.gateway if gateway else None, origins=origins)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    service, (_, blocks) = Service(["pinning", "pinned"]), package()
    async with served(service.app) as url, served(create_gateway(blocks, GatewaySettings())) as gateway:
        yield Scene(service, url, blocks, gateway)


async def code_of(awaited: Any) -> str:
    with pytest.raises(UnavailableError) as caught:
        await awaited
    return caught.value.code


async def test_it_is_asked_once_waited_for_and_read_back_through_its_gateway(scene: Scene) -> None:
    (root, blocks), store = package(), scene.store()
    with pytest.raises(UnavailableError) as caught:
        await store.pin(root, blocks)
    assert (caught.value.code, caught.value.retry_after) == ("pin_pending", 15.0)
    assert await code_of(store.read_back(root)) == "pin_gone"
    await store.pin(root, blocks)
    await store.pin(root, blocks)
    assert scene.service.asked.count("POST pins") == 1
    (request,) = scene.service.requests.values()
    assert request["pin"]["cid"] == str(root)
    assert request["pin"]["origins"] == ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWExample"]
    assert (await store.read_back(root)).blocks == 2
    assert "1 pins there" in await store.state()
    await store.unpin([root])
    assert scene.service.requests == {}
    await store.close()


async def test_a_request_that_failed_is_made_anew(scene: Scene) -> None:
    (root, blocks), store = package(), scene.store()
    scene.service.then = ["failed"]
    assert await code_of(store.pin(root, blocks)) == "pin_pending"
    assert await code_of(store.pin(root, blocks)) == "pin_pending"
    assert (len(scene.service.requests), scene.service.asked.count("POST pins")) == (1, 2)
    await store.close()


async def test_what_cannot_be_read_back_never_counts(scene: Scene) -> None:
    (root, blocks), store = package(), scene.store(gateway=False)
    scene.service.then = ["pinned"]
    assert await code_of(store.pin(root, blocks)) == "pin_pending"
    await store.pin(root, blocks)
    assert await code_of(store.read_back(root)) == "no_way_back"
    await store.close()


async def test_a_service_that_pinned_something_else_shows(scene: Scene) -> None:
    root, blocks = package()
    store = scene.store()
    scene.service.requests["old"] = {"status": "pinned", "pin": {"cid": str(root)}}
    for cid in [cid for cid in scene.blocks.blocks if cid != root]:
        del scene.blocks.blocks[cid]
    await store.pin(root, blocks)
    assert await code_of(store.read_back(root)) == "pin_gone"
    await store.close()


async def test_another_token_is_refused_and_not_shown(scene: Scene) -> None:
    store = scene.store("a-wrong-token")
    with pytest.raises(UnavailableError) as caught:
        await store.state()
    assert caught.value.code == "service_forbidden"
    assert "a-wrong-token" not in str(caught.value)
    await store.close()


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (JSONResponse({"results": "none"}), "service_unclear"),
        (JSONResponse({"results": [{"requestid": 1}]}), "service_unclear"),
        (JSONResponse([]), "service_unclear"),
        (Response(b"<html>"), "service_unclear"),
        (JSONResponse({"error": {"reason": "INSUFFICIENT_FUNDS"}}, 409), "service_refused"),
        (Response(b"x" * 300_000), "answer_oversize"),
        (Response(status_code=302, headers={"Location": "http://127.0.0.1:1/"}), "service_refused"),
    ],
)
async def test_what_it_says_otherwise_is_no_pin(scene: Scene, says: Response, code: str) -> None:
    (root, blocks), store = package(), scene.store()
    scene.service.says = says
    assert await code_of(store.pin(root, blocks)) == code
    await store.close()


async def test_silence_is_said() -> None:
    store = PinningService("http://127.0.0.1:9", SecretStr(TOKEN), gateway=None)
    assert await code_of(store.state()) == "service_silent"
    await store.close()
