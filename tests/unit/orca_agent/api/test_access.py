"""Who is let in, what is open, and what a stranger learns."""

from __future__ import annotations

import psycopg
import pytest
from fastapi import APIRouter
from pydantic import SecretStr

from orca.postgres import EmbeddedPostgres
from orca_agent.api.services import ApiSettings
from orca_agent.app import create_app
from orca_agent.models.facts import ModelFacts
from orca_engine import REVISION
from orca_engine.swarms import SWARMS
from orca_protocol.errors import InvalidError
from tests.unit.orca_agent.api.service import Service, code, service, spec_of

KEY = "a-key-that-nobody-guesses"


async def test_without_the_key_nothing_of_v1_is_answered(database_url: str) -> None:
    async with service(database_url, works=False, api_key=SecretStr(KEY)) as idle:
        paths = {path for path in (await idle.client.get("/openapi.json")).json()["paths"] if path.startswith("/v1")}
        assert {"/v1/runs", "/v1/swarm/completions", "/v1/models/available", "/v1/rate/limits"} <= paths
        for path, methods in (await idle.client.get("/openapi.json")).json()["paths"].items():
            for method in methods if path in paths else ():
                answer = await idle.client.request(method, path.replace("{run_id}", "0" * 36))
                if path in {"/v1/chat/completions", "/v1/models", "/v1/models/{name}"}:
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "credentials_missing"), path
                else:
                    assert code(answer) == (401, "credentials_missing"), path
                assert answer.headers["www-authenticate"].startswith("Bearer")
        for wrong in (KEY[:-1], KEY + "x", KEY.upper(), "é"):
            answer = await idle.client.get("/v1/runs", headers={b"x-api-key": wrong.encode()})
            assert code(answer) == (401, "credentials_unknown")


async def test_with_the_key_in_either_header_it_is(database_url: str) -> None:
    async with service(database_url, works=False, api_key=SecretStr(KEY)) as idle:
        for header in ({"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}):
            assert (await idle.client.get("/v1/runs", headers=header)).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com", ""])  # noqa: S104
def test_to_be_open_to_a_network_needs_a_key(host: str) -> None:
    with pytest.raises(InvalidError, match="ORCA_API_KEY") as caught:
        ApiSettings(host=host)
    assert caught.value.code == "api_key_missing"
    assert not ApiSettings(host=host, api_key=SecretStr(KEY)).is_local
    assert KEY not in repr(ApiSettings(host=host, api_key=SecretStr(KEY)))


async def test_other_hosts_and_sites_are_refused_on_loopback(idle: Service) -> None:
    for header in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert (await idle.client.get("/health", headers=header)).status_code == 403
    assert (await idle.client.get("/health", headers={"Host": "localhost"})).status_code == 200


async def test_no_answer_lets_another_origin_read_it(idle: Service) -> None:
    for method, path in [("GET", "/health"), ("OPTIONS", "/v1/runs"), ("GET", "/v1/runs")]:
        answer = await idle.client.request(method, path, headers={"Origin": "http://localhost:3000"})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_health_is_open_and_says_how_it_stands(database_url: str) -> None:
    async with service(database_url, works=False, api_key=SecretStr(KEY)) as idle:
        await idle.services.queue.depth()
        for method in ("GET", "POST"):
            for path in ("/healthz", "/healthz/"):
                assert (await idle.client.request(method, path)).json() == {"status": "alive"}
        document = (await idle.client.get("/health")).json()
        assert (document["service"], document["status"], document["database"]) == ("orca-agent", "ready", "ready")
        assert document["engine_revision"] == REVISION
        assert document["queue"] == {"queued": 0, "running": 0, "scheduled": 0, "awaiting_input": 0}
        assert document["models"] == {"status": "ready", "providers": 1, "answering": 1}


async def test_health_without_a_database_is_503(database_url: str, postgres: EmbeddedPostgres) -> None:
    async with service(database_url, works=False, health_seconds=0.3) as idle:
        with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
            db.execute("ALTER DATABASE orca ALLOW_CONNECTIONS false")
            try:
                db.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'orca'")
                answer = await idle.client.get("/health")
                assert (await idle.client.get("/healthz")).status_code == 200
            finally:
                db.execute("ALTER DATABASE orca ALLOW_CONNECTIONS true")
        assert code(answer) == (503, "queue_unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_what_can_be_asked_for_is_listed(idle: Service) -> None:
    assert (await idle.client.get("/v1/swarms/available")).json() == {"success": True, "swarm_types": list(SWARMS)}
    document = (await idle.client.get("/v1/models/available")).json()
    assert (document["success"], document["count"], document["models"]) == (True, 2, ["scripted", "alias"])
    shown = {"name": "alias", "provider": "scripted", "reachable": True, "detail": "→ scripted"}
    assert document["catalogue"][1] == {**shown, **ModelFacts().document()}
    assert (await idle.client.get("/v1/models/available?language=en&min_vram=8")).json()["models"] == []
    assert code(await idle.client.get("/v1/models/available?min_vram=much")) == (400, "bad_filter")
    (scripted, _) = (await idle.client.get("/v1/models")).json()["data"]
    assert scripted == {"id": "scripted", "object": "model", "created": 0, "owned_by": "scripted", **ModelFacts().document()}
    assert (await idle.client.get("/v1/models?min_vram=8")).json()["data"] == []
    assert (await idle.client.get("/v1/models?language=e")).status_code == 400


async def test_the_page_lists_the_routes_and_loads_nothing(idle: Service) -> None:
    answer = await idle.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    assert "//" not in answer.text.replace("<!doctype html>", "")
    assert "/v1/runs/{run_id}/events" in answer.text
    described = (await idle.client.get("/openapi.json")).json()
    assert "$ref" not in str(described["paths"]["/v1/swarm/completions"]["post"]["requestBody"])
    assert described["paths"]["/v1/runs"]["post"]["parameters"][0]["name"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("method", "path", "wanted"), [("GET", "/nowhere", (404, "not_found")), ("PUT", "/health", (405, "method_not_allowed"))]
)
async def test_what_is_not_there_is_a_problem_too(idle: Service, method: str, path: str, wanted: tuple[int, str]) -> None:
    assert code(await idle.client.request(method, path)) == wanted


async def test_routers_of_a_composition_root_are_served_beside_ours(idle: Service) -> None:
    import httpx

    router = APIRouter()

    async def rounds() -> dict[str, int]:
        return {"round": 7}

    router.add_api_route("/rounds", rounds, methods=["GET"])
    transport = httpx.ASGITransport(create_app(idle.services, [router]))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/rounds")).json() == {"round": 7}
        assert (await client.post("/v1/runs", json={"spec": spec_of("A")})).status_code == 202
