"""Whatever is sent, the service says what is wrong with it: no 500, no page of HTML, nothing read without a bound."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.orca_agent.api.service import Service, code, spec_of

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.one_of(st.text(max_size=20), st.sampled_from(["\x00", "a\x00b", "\u2028", "x" * 600, "0", "9" * 30, "-1", "0" * 36]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.sampled_from(["Idempotency-Key", "Last-Event-ID", "Origin", "X-Api-Key"])
FIELDS = st.sampled_from(["task", "swarm_type", "agents", "max_loops", "img", "rules", "name", "?"])
PATHS = [
    *("/v1/runs", "/v1/runs/{}", "/v1/runs/{}/cancel", "/v1/runs/{}/events", "/v1/runs/{}/output", "/v1/runs/{}/proof"),
    *("/v1/agent/completions", "/v1/agent/batch/completions", "/v1/swarm/batch/completions", "/v1/swarm/logs", "/v1/models/{}"),
    *(
        "/v1/chat/completions",
        "/v1/models",
        "/v1/swarms/available",
        "/v1/models/available",
        "/{}",
        "/health",
        "/healthz/",
        "/openapi.json",
    ),
]


def sane(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and "error" in answer.json():
        assert answer.json()["error"]["message"]
    elif answer.status_code >= 400:
        code(answer)
    elif answer.status_code != 204:
        json.loads(answer.content)


@MANY
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(PATHS),
    texts,
    st.dictionaries(st.sampled_from(["status", "after", "limit", "on_disconnect"]), texts, max_size=3),
    st.dictionaries(HEADERS, st.binary(max_size=20), max_size=2),
    st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
)
async def test_nothing_that_is_sent_makes_it_stumble(
    idle: Service, method: str, path: str, part: str, query: dict[str, str], headers: dict[str, bytes], body: bytes
) -> None:
    url = path.format(quote(part, safe="") or "x")
    clean = {name: bytes(byte for byte in value if byte > 32 and byte != 127) for name, value in headers.items()}
    sent = {b"Content-Type": b"application/json", **{name.encode(): value for name, value in clean.items()}}
    sane(await idle.client.request(method, url, params=query, content=body, headers=sent))


@MANY
@given(st.dictionaries(FIELDS, values, max_size=4))
async def test_no_spec_makes_it_stumble(idle: Service, changed: dict[str, Any]) -> None:
    body = {"spec": {**spec_of("A"), **changed}}
    sane(await idle.client.post("/v1/runs", json=body))
    as_text = {"spec": json.dumps(body["spec"])}
    sane(await idle.client.post("/v1/runs", json=as_text))
