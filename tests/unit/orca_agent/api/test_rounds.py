"""What a node says of itself to who may ask, and what its sidecar alone may have it do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from orca_agent.api.problems import PROBLEMS
from orca_agent.api.rounds import sidecar_routes, status_routes
from orca_agent.api.services import ApiSettings
from orca_agent.rounds.settings import RoundsSettings
from orca_agent.rounds.sidecar import NodeFace
from orca_agent.store.records import NodeRecords, Review
from orca_protocol.errors import UnavailableError
from tests.unit.orca_agent.api.service import gate_over
from tests.unit.orca_agent.rounds.serving import identity, node_settings, served

TOKEN, KEY = "token-of-this-start", "key-of-the-operator"
CID, CID2 = (f"b{letter * 58}" for letter in "ac")
WORKER = identity(2).key


class Parts:
    """Everything that a node's face asks, in one: it says what its attributes say."""

    doing = run_id = None
    idle = "nothing_available: no work"
    asked = 3

    def __init__(self) -> None:
        self.votes: dict[str, Any] = {}
        self.error: Exception | None = None
        self.reviewed: list[tuple[str, str]] = []
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    async def value_for(self, number: int) -> str:
        return f"idle:round_{number}"

    async def review(self, number: int, claim: tuple[str, str]) -> Review:
        self.reviewed.append(claim)
        await self.may_speak.wait()
        if self.error is not None:
            raise self.error
        return Review(number, *claim, self.votes.get(claim[1], "approve"), "because", b"d", None)


class Stores:
    """What is said of the stores."""

    def status(self) -> list[dict[str, Any]]:
        return [{"store": "local", "state": "ok"}]


class Service:
    """The two routers on a real port."""

    def __init__(self, url: str, parts: Parts, records: NodeRecords, face: NodeFace) -> None:
        self.parts, self.records, self.face = parts, records, face
        self.http = httpx.AsyncClient(base_url=url, trust_env=False)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {TOKEN}", "x-api-key": KEY} | headers)

    async def audit(self, submission: str, submitter: str = WORKER) -> httpx.Response:
        body = {"submission": submission, "submitter": submitter}
        return await self.http.post("/rounds/5/audit", json=body, headers={"Authorization": f"Bearer {TOKEN}"})


def face_of(parts: Any, records: NodeRecords, given: RoundsSettings | None = None) -> NodeFace:
    stores = cast("Any", Stores())
    return NodeFace(given or node_settings(), identity().key, parts, records, parts, parts, parts, parts, stores, None)


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    api = ApiSettings(api_key=SecretStr(KEY))
    async with NodeRecords(database_url) as records, gate_over(database_url, api) as (gate, _):
        parts = Parts()
        face = face_of(parts, records)
        app = FastAPI()
        app.include_router(status_routes(face, gate))
        app.include_router(sidecar_routes(face, SecretStr(TOKEN)))
        PROBLEMS.install(app)
        async with served(app) as url:
            made = Service(url, parts, records, face)
            yield made
            await made.http.aclose()


@pytest.mark.parametrize(
    "header", ["", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", f"Bearer {KEY}", "Bearer \xff", f"Bearer x{TOKEN}"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/rounds/5/task"), ("GET", "/rounds/5/submission"), ("POST", "/rounds/5/audit"), ("GET", "/rounds/5/distribution")],
)
async def test_nobody_speaks_for_the_node_without_the_token_of_this_start(
    service: Service, header: str, method: str, path: str
) -> None:
    body = {"submission": CID, "submitter": WORKER}
    answer = await service.http.request(
        method, path, json=body, headers=[(b"authorization", header.encode("latin-1")), (b"x-api-key", KEY.encode())]
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "credentials_unknown")
    assert service.parts.reviewed == []
    assert await service.records.recent_rounds() == []


@pytest.mark.parametrize("path", ["/status", "/status/history", "/status/reviews/5"])
async def test_the_status_is_for_who_has_the_key_where_there_is_one(service: Service, path: str) -> None:
    assert (await service.get(path)).status_code == 200
    refused = await service.http.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert (refused.status_code, refused.json()["code"]) == (401, "credentials_unknown")


async def test_the_status_is_open_on_loopback_where_there_is_no_key(database_url: str) -> None:
    async with NodeRecords(database_url) as records, gate_over(database_url, ApiSettings()) as (gate, _):
        app = FastAPI()
        app.include_router(status_routes(face_of(Parts(), records), gate))
        async with served(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
            said = (await http.get("/status")).json()
    assert said["idle"] == "nothing_available: no work"
    assert (said["key"], said["asked"], said["busy"], said["troubles"]) == (identity().key, 3, [], [])


async def test_the_history_says_what_became_of_work_and_rounds(service: Service) -> None:
    claim = await service.records.begin_claim("c")
    todo = '{"id":"item","leaseId":"lease","spec":"secret"}'
    await service.records.move(claim, "closed", todo=todo, ending="lease_lost: lease_ended", round=5, cid=CID)
    await service.records.keep_submission(5, CID)
    await service.records.keep_outcomes(5, '{"claims":[],"missing":["x"]}')
    said = (await service.get("/status/history")).json()
    (assignment,) = said["assignments"]
    assert assignment == {
        "work_item": "item",
        "lease_id": "lease",
        "state": "closed",
        "run_id": None,
        "round": 5,
        "cid": CID,
        "ending": "lease_lost: lease_ended",
    }
    assert said["rounds"] == [{"round": 5, "submitted": CID, "settled": False, "outcomes": {"claims": [], "missing": ["x"]}}]


async def test_verdicts_are_shown_by_round(service: Service) -> None:
    await service.records.keep_review(Review(5, WORKER, CID, "reject", "replay: differs", b"d", None))
    row = {"round": 5, "worker": WORKER, "cid": CID, "vote": "reject", "reason": "replay: differs"}
    assert (await service.get("/status/reviews/5")).json() == {"reviews": [row]}
    assert (await service.get("/status/reviews/6")).json() == {"reviews": []}


@pytest.mark.parametrize("number", ["-1", "05", "x", "1.0", "9" * 16, "%20"])
async def test_a_round_is_a_number(service: Service, number: str) -> None:
    for path in (f"/status/reviews/{number}", f"/rounds/{number}/submission"):
        answer = await service.get(path)
        assert (answer.status_code, answer.json()["code"]) in (
            (400, "round_unknown"),
            (404, "round_unknown"),
            (422, "round_unknown"),
        )


async def test_a_sidecar_is_told_what_to_submit(service: Service) -> None:
    answer = await service.get("/rounds/5/submission")
    assert answer.json() == {"round": 5, "value": "idle:round_5"}


async def test_a_sidecar_is_told_how_the_work_stands(service: Service) -> None:
    answer = await service.http.post("/rounds/5/task", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.json()["round"], answer.json()["key"]) == (5, identity().key)


@pytest.mark.parametrize(
    ("votes", "vote"),
    [
        ({}, True),
        ({CID: "reject"}, False),
        ({CID2: "reject"}, False),
        ({CID: "abstain"}, None),
        ({CID: "abstain", CID2: "reject"}, False),
    ],
)
async def test_a_sidecar_is_told_the_vote_and_none_where_it_could_not_be_told(
    service: Service, votes: dict[str, str], vote: bool | None
) -> None:
    service.parts.votes = votes
    said = (await service.audit(f"{CID} {CID2}")).json()
    assert (said["round"], said["vote"]) == (5, vote)
    assert said["reason"].count("because") == 2
    assert service.parts.reviewed == [(WORKER, CID), (WORKER, CID2)]


async def test_who_claims_nothing_is_voted_for_and_what_nobody_can_read_is_not_voted_on(service: Service) -> None:
    assert (await service.audit("idle:no_work")).json()["vote"] is True
    assert (await service.audit(f"verdicts:{CID}")).json()["vote"] is True
    assert (await service.audit("nonsense")).json()["vote"] is None
    assert service.parts.reviewed == []


async def test_an_audit_that_the_world_hindered_is_no_vote_at_all(service: Service) -> None:
    service.parts.error = UnavailableError("records_unavailable", "away")
    answer = await service.audit(CID)
    assert answer.status_code == 503
    assert "vote" not in answer.json()


@pytest.mark.parametrize(
    "body", [{}, {"submission": CID}, {"submission": CID, "submitter": "x"}, {"submission": 1, "submitter": WORKER}]
)
async def test_a_request_that_is_none_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = await service.http.post("/rounds/5/audit", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert 400 <= answer.status_code < 500
    assert service.parts.reviewed == []


async def test_an_audit_goes_on_when_who_asked_waits_no_more(service: Service) -> None:
    service.parts.may_speak.clear()
    asked = asyncio.create_task(service.face.audit(5, WORKER, CID))
    await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.wait([asked])
    again = asyncio.create_task(service.face.audit(5, WORKER, CID))
    await asyncio.sleep(0.01)
    service.parts.may_speak.set()
    assert (await again)[0] is True
    assert service.parts.reviewed == [(WORKER, CID)]
