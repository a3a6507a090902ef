"""A middle server for tests: the real application on a real database, a clock that is turned by hand, a chain of our making."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from nacl.signing import SigningKey
from starlette.types import ASGIApp, Message

from middle_server.app import create_app
from middle_server.rules.moments import moment
from middle_server.settings import MiddleSettings
from middle_server.store.keys import issue_key
from orca_protocol.envelope import seal
from orca_protocol.keys import public_key_of
from orca_protocol.lease import Lease, open_lease
from orca_protocol.verdict import CheckResult, Cost, decide
from orca_protocol.verdict_statement import VerdictPredicate, VerdictStatement, sign_verdict
from proof_store.cid import RAW, Cid
from tests.fakes.chain import FakeChain

TASK = "task-1"
AUDIENCE = "middle.example:3000"
NOW = 1_800_000_000.0
SERVER_KEY = SigningKey(b"s" * 32)
REQUESTER = public_key_of(SigningKey(b"r" * 32))
WEIGHTS = "sha256:" + "a" * 64
REQUIRED = ["integrity", "authenticity", "replay"]
SPEC = {"agents": [{"agent_name": "A", "model_name": "m"}], "task": "do it"}


def node_key(number: int) -> SigningKey:
    return SigningKey(bytes([number]) * 32)


def cid_of(text: str) -> str:
    return str(Cid.of(RAW, text.encode()))


def settings(database_url: str, **changed: Any) -> MiddleSettings:
    known: dict[str, Any] = {
        "database_url": database_url,
        "signing_key": SERVER_KEY,
        "audience": AUDIENCE,
        "network": "devnet-1",
        "task_ids": (TASK, "task-2"),
        "attempts_at_most": 3,
        "pool_size": 4,
        # Tests say when something runs out; the sweeper in the background must not say it first.
        "sweep_seconds": 3600,
    }
    return MiddleSettings(**{**known, **changed})


def payload(action: str, key: SigningKey, now: float, **fields: Any) -> dict[str, Any]:
    """A request's payload; fields that are None are left out."""
    known = {
        "taskId": TASK,
        "action": action,
        "stakingKey": public_key_of(key),
        "aud": f"{AUDIENCE}/summarizer/worker/{action}",
        "nonce": secrets.token_hex(16),
        "iat": int(now),
        "exp": int(now) + 60,
    }
    return {name: value for name, value in {**known, **fields}.items() if value is not None}


def signed(document: dict[str, Any], key: SigningKey) -> dict[str, str]:
    return {"signature": seal(document, key), "stakingKey": public_key_of(key)}


@dataclass
class Held:
    """What a node got by fetch-todo."""

    key: SigningKey
    data: dict[str, Any]

    @property
    def fields(self) -> dict[str, str]:
        return {"swarmBountyId": self.data["id"], "leaseId": self.data["leaseId"], "fencingToken": self.data["fencingToken"]}

    @property
    def lease(self) -> Lease:
        return open_lease(self.data["lease"].encode(), public_key_of(SERVER_KEY))


@dataclass
class Room:
    """The server and everything around it."""

    settings: MiddleSettings
    chain: FakeChain
    client: httpx.AsyncClient
    api_key: str
    time: list[float] = field(default_factory=lambda: [NOW])

    def later(self, seconds: float) -> None:
        self.time[0] += seconds

    async def post(self, action: str, body: Any) -> httpx.Response:
        return await self.client.post(f"/summarizer/worker/{action}", json=body)

    async def ask(self, action: str, key: SigningKey, **fields: Any) -> httpx.Response:
        return await self.post(action, signed(payload(action, key, self.time[0], **fields), key))

    async def fetch(self, key: SigningKey, claim: str | None = None, **fields: Any) -> Held:
        answer = await self.ask("fetch-todo", key, claimId=claim or secrets.token_hex(8), **fields)
        assert answer.status_code == 200, answer.text
        return Held(key, answer.json()["data"])

    async def report(self, held: Held, cid: str) -> httpx.Response:
        return await self.ask("add-todo-pr", held.key, prUrl=cid, **held.fields)

    async def in_review(self, key: SigningKey, text: str = "proof") -> Held:
        """Take an item all the way into the chain's current round."""
        held = await self.fetch(key)
        assert (await self.report(held, cid_of(text))).status_code == 200
        answer = await self.ask("add-round-number", key, roundNumber=self.chain.round, **held.fields)
        assert answer.status_code == 200, answer.text
        return held

    @property
    def person(self) -> dict[str, str]:
        return {"x-api-key": self.api_key}

    async def create(self, *, idempotency_key: str | None = None, **changed: Any) -> httpx.Response:
        known: dict[str, Any] = {
            "spec": SPEC,
            "price": "1500000",
            "models": [{"name": "local/m", "digest": WEIGHTS}],
            "required_checks": REQUIRED,
            "visibility": "public",
            "task_id": TASK,
        }
        body = {name: value for name, value in {**known, **changed}.items() if value is not None}
        headers = self.person | ({"idempotency-key": idempotency_key} if idempotency_key else {})
        return await self.client.post("/v1/work-items", json=body, headers=headers)

    async def item(self, **changed: Any) -> str:
        answer = await self.create(**changed)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def status(self, item_id: str) -> str:
        return str((await self.client.get(f"/v1/work-items/{item_id}", headers=self.person)).json()["status"])

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url) as connection:
            done = connection.execute(statement.encode(), values)
            return done.fetchall() if done.description else []


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """Start the application and stop it, as a server would."""
    said: asyncio.Queue[Message] = asyncio.Queue()
    heard: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.ensure_future(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, said.get, heard.put))
    await said.put({"type": "lifespan.startup"})
    assert (await heard.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await said.put({"type": "lifespan.shutdown"})
        assert (await heard.get())["type"] == "lifespan.shutdown.complete"
        await task


@asynccontextmanager
async def room(
    database_url: str, chain: FakeChain | None = None, time: list[float] | None = None, **changed: Any
) -> AsyncIterator[Room]:
    """A room on that database. Nodes 1 to 9 are staked."""
    chain = chain or FakeChain()
    for number in range(1, 10):
        if (key := public_key_of(node_key(number))) not in chain.stakes:
            chain.put(key)
    time = time or [NOW]
    given = settings(database_url, **changed)
    app = create_app(given, chain, clock=lambda: time[0])
    api_key = await issue(database_url)
    async with running(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield Room(given, chain, client, api_key, time)


async def issue(database_url: str, requester: str = REQUESTER) -> str:
    """Make an API key as an operator would."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        return await issue_key(connection, requester, "test", moment(NOW))


def verdict(
    auditor: SigningKey,
    held: Held,
    cid: str,
    *,
    round_number: int,
    says: str = "valid",
    required: list[str] | None = None,
    **changed: Any,
) -> bytes:
    """A signed verdict: every required check says ``says``."""
    names = required or REQUIRED
    results = tuple(
        CheckResult.model_validate({"check": name, "verdict": says, "code": "ok", "detail": "", "cost": Cost(wall_ms=1)})
        for name in names
    )
    decision = decide(results, names)
    said: dict[str, Any] = {
        "network": "devnet-1",
        "task_id": TASK,
        "round": round_number,
        "work_item": held.data["id"],
        "worker": held.lease.worker,
        "auditor": public_key_of(auditor),
        "required": tuple(names),
        "checks": results,
        "vote": decision.vote,
        "reason": decision.reason,
        "issued": "2027-01-15T08:00:00.000Z",
    }
    predicate = VerdictPredicate.model_validate({**said, **changed})
    subject = {"name": cid, "digest": {"sha256": "0" * 64}}
    statement = VerdictStatement.model_validate(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": (subject,),
            "predicateType": "urn:orca-node:verdict:v1",
            "predicate": predicate,
        }
    )
    return sign_verdict(statement, auditor)


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem, which must be a whole one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = json.loads(answer.content)
    assert document["status"] == answer.status_code
    assert document["detail"]
    assert document["type"].endswith(document["code"])
    return answer.status_code, document["code"]
