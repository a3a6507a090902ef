"""Whatever is sent, the server says what is wrong with it: no 500, no page of HTML, nothing read without a bound."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from middle_server.api.reading import SEALED_MAX_BYTES
from middle_server.api.work_items import WorkItemRequest
from orca_protocol.keys import devnet_key, public_key_of
from orca_protocol.requests import NodeRequest
from tests.integration.middle_server.room import AUDIENCE, NOW, SPEC, TASK, Room, code, node_key, payload, room, signed

ACTIONS = [
    "fetch-todo",
    "heartbeat",
    "add-todo-status",
    "add-failed-info",
    "add-todo-pr",
    "add-round-number",
    "check-todo",
    "update-audit-result",
]
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["\x00", "a\x00b", "\u2028", "x" * 600, TASK, "0", "9" * 30, "-1", "ipfs://"])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def sane(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    json.loads(answer.content)
    if answer.status_code >= 400:
        code(answer)


@MANY
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(
        [
            *("/v1/work-items", "/v1/work-items/{}", "/v1/work-items/{}/cancel", "/v1/work-items/{}/result", "/v1/verdicts"),
            *("/v1/nodes", "/v1/rounds/{}", "/summarizer/worker/{}", "/summarizer/worker/fetch-todo", "/{}", "/health"),
            "/openapi.json",
        ]
    ),
    texts,
    st.dictionaries(st.sampled_from(["task_id", "work_item", "auditor", "status", "after"]), texts, max_size=3),
    st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
)
async def test_nothing_that_is_sent_makes_it_stumble(
    middle: Room, method: str, path: str, part: str, query: dict[str, str], body: bytes
) -> None:
    url = httpx.URL("http://test").join(path.format(_quoted(part)))
    sane(await middle.client.request(method, url, params=query, content=body, headers=middle.person))


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="") or "x"


@MANY
@given(st.sampled_from(ACTIONS), st.dictionaries(st.sampled_from(sorted(NodeRequest.model_fields)), values, max_size=5))
async def test_no_signed_payload_makes_it_stumble(middle: Room, action: str, changed: dict[str, Any]) -> None:
    document = {**payload(action, node_key(1), NOW, claimId="c" * 16), **changed}
    sane(await middle.post(action, signed(document, node_key(1))))


likely = st.fixed_dictionaries(
    {},
    optional={
        "swarmBountyId": texts,
        "leaseId": texts,
        "fencingToken": st.sampled_from(["0", "1", "9223372036854775808"]),
        "prUrl": texts,
        "roundNumber": st.integers(0, 2**40),
        "pubKey": st.sampled_from(["1" * 32, "1" * 44, public_key_of(node_key(2))]),
        "githubUsername": texts,
        "status": texts,
        "error": texts,
        "gateway": st.sampled_from(["http://x", "https://x:1/%00"]),
        "claimId": st.sampled_from(["a" * 16, "b" * 64]),
    },
)


@MANY
@given(st.sampled_from(ACTIONS), likely)
async def test_no_likely_payload_makes_it_stumble(middle: Room, action: str, changed: dict[str, Any]) -> None:
    sane(await middle.post(action, signed({**payload(action, node_key(1), NOW), **changed}, node_key(1))))


@MANY
@given(st.dictionaries(st.sampled_from(sorted(WorkItemRequest.model_fields)), values, max_size=4))
async def test_no_work_item_makes_it_stumble(middle: Room, changed: dict[str, Any]) -> None:
    sane(await middle.create(**changed))


async def test_the_schema_lists_every_path(middle: Room) -> None:
    paths = (await middle.client.get("/openapi.json")).json()["paths"]
    assert {f"/summarizer/worker/{action}" for action in ACTIONS} <= set(paths)
    assert {"/v1/work-items", "/v1/work-items/{item_id}", "/v1/verdicts", "/v1/nodes", "/v1/rounds/{number}"} <= set(paths)


async def test_no_other_origin_is_let_in(middle: Room) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method, path in (("OPTIONS", "/v1/work-items"), ("GET", "/v1/nodes?task_id=task-1"), ("GET", "/health")):
        answer = await middle.client.request(method, path, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_body_is_read_no_further_than_its_bound(database_url: str) -> None:
    async with room(database_url, body_bytes=100_000) as middle:
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            while sent < 10_000_000:
                sent += 10_000
                yield b" " * 10_000

        answer = await middle.client.post("/v1/work-items", content=endless(), headers=middle.person)
        assert code(answer) == (413, "body_oversize")
        assert sent < 1_000_000
        announced = {"content-length": "200000", **middle.person}
        assert code(await middle.client.post("/v1/work-items", content=b"", headers=announced)) == (413, "body_oversize")
    async with room(database_url) as middle:
        large = await middle.client.post("/summarizer/worker/heartbeat", content=b" " * (SEALED_MAX_BYTES + 1))
        assert code(large) == (413, "json_oversize")
        sealed = {"signature": "1" * 25_000, "stakingKey": public_key_of(node_key(1))}
        assert code(await middle.post("heartbeat", sealed)) == (413, "envelope_oversize")


async def test_a_request_takes_no_longer_than_its_bound(database_url: str) -> None:
    async with room(database_url, request_seconds=0.05) as middle:
        middle.chain.is_silent = True
        answer = await middle.ask("fetch-todo", node_key(1), claimId="c" * 16)
        assert code(answer) == (503, "request_timeout")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iat": int(NOW) + 30, "exp": int(NOW) + 60}, (401, "request_early")),
        ({"exp": int(NOW)}, (400, "request_life")),
        ({"exp": int(NOW) + 121}, (400, "request_life")),
        ({"iat": int(NOW) - 100, "exp": int(NOW) - 1}, (401, "request_expired")),
        ({"aud": f"{AUDIENCE}:3001/summarizer/worker/fetch-todo"}, (401, "request_audience")),
        ({"stakingKey": public_key_of(node_key(2))}, (401, "request_key")),
        ({"taskId": "task-3"}, (403, "task_foreign")),
        ({"nonce": "00"}, (400, "request_schema")),
        ({"claimId": None}, (400, "claim_missing")),
        ({"claimId": "short"}, (400, "request_schema")),
        ({"pubKey": "1" * 33}, (400, "base58")),
    ],
)
async def test_a_wrong_request_is_refused_for_what_is_wrong(
    middle: Room, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    await middle.item()
    assert code(await middle.ask("fetch-todo", node_key(1), **{"claimId": "c" * 16, **changed})) == expected


async def test_a_key_that_everybody_has_signs_nothing_outside_a_devnet(database_url: str) -> None:
    key: SigningKey = devnet_key(1)
    async with room(database_url) as middle:
        middle.chain.put(public_key_of(key))
        assert code(await middle.ask("heartbeat", key)) == (403, "devnet_key")
    async with room(database_url, is_devnet=True) as middle:
        middle.chain.put(public_key_of(key))
        assert (await middle.ask("heartbeat", key)).status_code == 200


async def test_health_says_whether_it_can_work(middle: Room) -> None:
    assert (await middle.client.get("/healthz")).json() == {"status": "alive"}
    health = (await middle.client.get("/health")).json()
    assert (health["status"], health["signer"]) == ("ready", middle.settings.public_key)


async def test_without_a_database_it_lives_and_says_503() -> None:
    from middle_server.app import create_app
    from tests.fakes.chain import FakeChain
    from tests.integration.middle_server.room import running
    from tests.integration.middle_server.room import settings as made

    app = create_app(made("postgresql:///x?host=/nowhere", database_seconds=0.3), FakeChain())
    async with running(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/healthz")).status_code == 200
        assert code(await client.get("/health")) == (503, "database_unavailable")
        body = signed(payload("heartbeat", node_key(1), 0), node_key(1))
        assert code(await client.post("/summarizer/worker/heartbeat", json=body)) == (401, "request_expired")


async def test_a_spec_in_every_spelling_is_answered(middle: Room) -> None:
    for spec in (
        "",
        "{",
        '{"a":1,"a":2}',
        "[]",
        json.dumps(SPEC) + " ",
        {},
        {"task": "t"},
        {**SPEC, "swarm_type": "auto"},
        {**SPEC, "x": 1},
    ):
        sane(await middle.create(spec=spec))
