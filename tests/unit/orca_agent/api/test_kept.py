"""Kept answers: for who asks for them, for the tenant they were made for, for the very same request, while they last."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.api.kept import KeptAnswers, request_key
from orca_http.answers import Answer
from orca_protocol.errors import InvalidError
from orca_protocol.spec import SwarmSpec, read_spec
from tests.unit.orca_agent.api.service import Service, code, service, spec_of

OPERATOR = {"x-api-key": "a-key-that-nobody-guesses"}
AGENT = {"agent_config": {"agent_name": "A", "model_name": "scripted", "system_prompt": "AGENT:A"}, "task": "TASK"}


async def asked(agent: Service, spec: dict[str, Any], *, cache: str | None = "true", **headers: str) -> httpx.Response:
    params = {} if cache is None else {"cache": cache}
    answer = await agent.client.post("/v1/swarm/completions", json=spec, params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_the_same_request_gets_the_kept_answer_and_it_says_so(agent: Service) -> None:
    first = await asked(agent, spec_of("A"))
    assert "age" not in first.headers
    assert first.headers["cache-status"] == "orca; fwd=miss; stored"
    again = await asked(agent, spec_of("A"))
    assert again.content == first.content
    assert again.json()["job_id"] == first.json()["job_id"]
    assert (again.headers["age"], again.headers["cache-status"]) == ("0", "orca; hit")
    assert len(agent.model.calls) == 1
    reordered = json.dumps(dict(reversed(spec_of("A").items())), indent=2)
    headers = {"Content-Type": "application/json"}
    other = await agent.client.post("/v1/swarm/completions", content=reordered, params={"cache": "true"}, headers=headers)
    assert other.headers["cache-status"] == "orca; hit", "what is meant counts, not how it is written"


@pytest.mark.parametrize("cache", [None, "false"])
async def test_who_does_not_ask_for_one_gets_none(agent: Service, cache: str | None) -> None:
    first = await asked(agent, spec_of("A"))
    again = await asked(agent, spec_of("A"), cache=cache)
    assert again.json()["job_id"] != first.json()["job_id"]
    assert "cache-status" not in again.headers
    assert len(agent.model.calls) == 2


async def test_another_tenant_never_gets_it(database_url: str) -> None:
    async with service(database_url, api_key=SecretStr(OPERATOR["x-api-key"])) as agent:
        holders = [(await agent.issue("alice")).shown, (await agent.issue("bob", scopes=["admin"])).shown, OPERATOR]
        jobs = [(await asked(agent, spec_of("A"), **shown)).json()["job_id"] for shown in holders]
        assert len(set(jobs)) == 3
        again = [(await asked(agent, spec_of("A"), **shown)).json()["job_id"] for shown in holders]
        assert again == jobs
        assert len(agent.model.calls) == 3


async def test_only_a_full_success_is_kept(agent: Service) -> None:
    spec = spec_of("A", "B", swarm_type="ConcurrentWorkflow")
    agent.model.failures["B"] = [InvalidError("bad_request", "no")]
    partial = await asked(agent, spec)
    assert (partial.json()["status"], partial.headers["cache-status"]) == ("partial", "orca; fwd=miss")
    agent.model.failures["A"] = [InvalidError("bad_request", "no")]
    agent.model.failures["B"] = [InvalidError("bad_request", "no")]
    failed = await agent.client.post("/v1/swarm/completions", json=spec, params={"cache": "true"})
    assert code(failed) == (502, "run_error")
    assert (await asked(agent, spec)).headers["cache-status"] == "orca; fwd=miss; stored"
    assert (await asked(agent, spec)).headers["cache-status"] == "orca; hit"


async def test_a_request_with_a_name_is_answered_by_its_own_run(agent: Service) -> None:
    first = await asked(agent, spec_of("A"))
    named = await asked(agent, spec_of("A"), **{"Idempotency-Key": "mine"})
    assert named.json()["job_id"] != first.json()["job_id"]
    assert (await asked(agent, spec_of("A"), **{"Idempotency-Key": "mine"})).json()["job_id"] == named.json()["job_id"]


async def test_a_single_agents_answer_is_kept_beside_a_swarms(agent: Service) -> None:
    spec = {"name": "A", "agents": [AGENT["agent_config"]], "task": "TASK", "swarm_type": "SequentialWorkflow"}
    swarm = await asked(agent, spec)
    single = [await agent.client.post("/v1/agent/completions", json=AGENT, params={"cache": "true"}) for _ in range(2)]
    assert single[0].json()["job_id"] != swarm.json()["job_id"], "the answers differ in shape"
    assert single[0].content == single[1].content
    assert single[1].headers["cache-status"] == "orca; hit"


async def test_a_wrong_choice_is_refused(idle: Service) -> None:
    answer = await idle.client.post("/v1/swarm/completions", json=spec_of("A"), params={"cache": "maybe"})
    assert code(answer) == (400, "query")


# -- what is the same request -------------------------------------------------------------------------------------------------

BASE = {"task": "T", "agents": [{"agent_name": "A", "model_name": "m"}]}
_TEXT = st.text(min_size=1, max_size=5)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": _TEXT,
        "description": _TEXT,
        "rules": _TEXT,
        "max_loops": st.integers(1, 3),
        "return_history": st.booleans(),
        "img": _TEXT,
        "task": _TEXT,
    },
)


def read(document: dict[str, Any]) -> SwarmSpec:
    return read_spec(json.dumps(document).encode())


@given(one=_CHANGES, other=_CHANGES)
def test_two_specs_have_one_key_only_if_every_field_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    specs = [read({**BASE, **change}) for change in (one, other)]
    keys = [request_key("k", "/p", spec) for spec in specs]
    assert (keys[0] == keys[1]) is (specs[0] == specs[1])


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # a value that no field has differs from every one that it may
def test_every_field_of_spec_and_agent_is_in_the_key() -> None:
    """Whatever field comes to be: a spec that differs in it has another key."""
    spec = read(BASE)
    key = request_key("k", "/p", spec)
    for name in SwarmSpec.model_fields:
        assert request_key("k", "/p", spec.model_copy(update={name: "something else"})) != key, name
    (agent,) = spec.agents
    for name in type(agent).model_fields:
        changed = agent.model_copy(update={name: "something else"})
        assert request_key("k", "/p", spec.model_copy(update={"agents": (changed,)})) != key, name
    assert request_key("k", "/q", spec) != key
    assert request_key(None, "/p", spec) != key
    assert request_key("operator", "/p", spec) != request_key(None, "/p", spec)


# -- while they last ----------------------------------------------------------------------------------------------------------


def kept_body(answers: KeptAnswers, key: str) -> bytes | None:
    found = answers.find(key)
    return None if found is None else bytes(found.body)


def test_an_answer_grows_old_and_goes() -> None:
    now = 0.0
    answers = KeptAnswers(100_000, 60, clock=lambda: now)
    answers.keep("k", Answer(200, "application/json", b"{}"))
    now = 59.9
    found = answers.find("k")
    assert found is not None
    assert found.headers["age"] == "59"
    now = 60.1
    assert answers.find("k") is None


def test_all_together_stay_within_their_bytes_and_the_least_used_goes_first() -> None:
    answers = KeptAnswers(3 * 1024 + 30, 60)
    for key in ("a", "b", "c"):
        answers.keep(key, Answer(200, "application/json", key.encode() * 10))
    assert kept_body(answers, "a") == b"a" * 10
    answers.keep("d", Answer(200, "application/json", b"d" * 10))
    assert [kept_body(answers, key) is not None for key in ("a", "b", "c", "d")] == [True, False, True, True]
    answers.keep("e", Answer(200, "application/json", b"e" * 5000))
    assert kept_body(answers, "e") is None, "larger than all together may be"
    assert kept_body(answers, "a") is not None
