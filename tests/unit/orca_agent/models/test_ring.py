"""Several keys of one server: a real server that refuses keys by name, and the whole way of a call through retrying."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from pydantic import SecretStr

from orca_agent.models.http import HttpClient
from orca_agent.models.keys import KeyRule
from orca_agent.models.retry import Asked, Policy, SystemClock, ask
from orca_agent.models.ring import RingProvider, ringed
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, Failure
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca_agent.models.requests import asked

KEYS = tuple(f"sk-or-v1-{digit * 40}" for digit in "abc")
QUICK = KeyRule(limited=0.2, refused=300.0)


@pytest.fixture
def ring(server: ScriptedServer, http: HttpClient) -> RingProvider:
    provider = ringed("openai", http, [SecretStr(key) for key in KEYS], base_url=server.openai, name="openrouter")
    provider._ring._rule = QUICK
    return provider


def refuse(server: ScriptedServer, **refusals: dict[str, Any]) -> None:
    """``a={"status": 401}``: what key ``a`` gets; ``first`` bounds how often."""
    server.reset({"keys": {KEYS["abc".index(name)]: fault for name, fault in refusals.items()}})


def used(server: ScriptedServer) -> str:
    """Which keys the calls came with, in order."""
    heads = [request["head"] for request in server.stats()["requests"]]
    return "".join(name for head in heads for name, key in zip("abc", KEYS, strict=True) if key in head)


async def through(provider: RingProvider, *, attempts: int = 4, patience: float = 120.0) -> Asked:
    policy = Policy(attempts=attempts, base=0.0, patience=patience)
    return await ask(provider, "m", asked(), policy=policy, on_delta=None, on_restart=lambda: None, clock=SystemClock())


async def test_calls_at_once_are_shared_evenly(ring: RingProvider, server: ScriptedServer) -> None:
    server.reset({"latency_ms": 30})
    await asyncio.gather(*(ring.complete("m", asked(), None) for _ in range(30)))
    server.reset({})
    await asyncio.gather(*(ring.complete("m", asked(), None) for _ in range(30)))
    assert sorted(used(server)) == ["a"] * 10 + ["b"] * 10 + ["c"] * 10


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorised"), (402, "payment_required"), (429, "rate_limited")])
async def test_a_refused_key_costs_a_try_and_another_answers(
    ring: RingProvider, server: ScriptedServer, status: int, code: str
) -> None:
    refuse(server, a={"status": status, "headers": {"Retry-After": "60"} if status == 429 else {}})
    result = await through(ring)
    assert isinstance(result.result, Answer)
    assert [attempt.outcome for attempt in result.attempts] == [code, "answer"]
    for _ in range(4):
        assert len((await through(ring)).attempts) == 1
    assert used(server) == "abcbcb"


async def test_all_keys_refused_is_said_with_the_reasons_and_never_waited_for(ring: RingProvider, server: ScriptedServer) -> None:
    refuse(server, a={"status": 401}, b={"status": 402}, c={"status": 401})
    result = await through(ring)
    assert isinstance(result.result, Failure)
    assert [attempt.outcome for attempt in result.attempts] == ["unauthorised", "payment_required", "unauthorised"]
    assert "1 × payment_required, 2 × unauthorised" in result.result.detail
    with pytest.raises(UnavailableError, match=r"keys_resting.*2 × unauthorised") as caught:
        await ring.complete("m", asked(), None)
    assert caught.value.retry_after is not None
    assert 290 < caught.value.retry_after <= 300
    assert server.stats(prompts=False)["total"] == 3


async def test_a_call_waits_out_the_rest_that_the_server_asked_for(ring: RingProvider, server: ScriptedServer) -> None:
    for_all = {"status": 429, "headers": {"Retry-After": "0.3"}, "first": 1}
    refuse(server, a=for_all, b=for_all, c=for_all)
    begun = asyncio.get_running_loop().time()
    result = await through(ring)
    assert [attempt.outcome for attempt in result.attempts] == ["rate_limited"] * 3 + ["answer"]
    assert asyncio.get_running_loop().time() - begun >= 0.25


async def test_a_402_that_says_when_is_a_wish_and_not_an_end(server: ScriptedServer, http: HttpClient) -> None:
    provider = ringed("openai", http, [SecretStr(KEYS[0])], base_url=server.openai, name="openrouter")
    refuse(server, a={"status": 402, "headers": {"Retry-After": "0.1"}, "first": 1})
    result = await through(provider)
    assert [attempt.outcome for attempt in result.attempts] == ["payment_required", "answer"]


async def test_a_key_comes_back_by_one_call_while_the_others_wait_for_it(server: ScriptedServer, http: HttpClient) -> None:
    provider = ringed("openai", http, [SecretStr(KEYS[0])], base_url=server.openai, name="openrouter")
    refuse(server, a={"status": 429, "headers": {"Retry-After": "0"}, "first": 1})
    with pytest.raises(UnavailableError, match="rate_limited"):
        await provider.complete("m", asked(), None)
    server.reset({"agents": {"A": {"faults": [{"kind": "held"}]}}})
    crowd = [asyncio.create_task(provider.complete("m", asked(), None)) for _ in range(20)]
    while server.stats(prompts=False)["in_flight"] == 0:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert server.stats(prompts=False)["in_flight"] == 1
    server.reset({})
    assert {answer.content for answer in await asyncio.gather(*crowd)} >= {"out(A,2)"}


async def test_a_cancelled_try_leaves_the_key_to_the_next_call(server: ScriptedServer, http: HttpClient) -> None:
    provider = ringed("openai", http, [SecretStr(KEYS[0])], base_url=server.openai, name="openrouter")
    refuse(server, a={"status": 429, "headers": {"Retry-After": "0"}, "first": 1})
    with pytest.raises(UnavailableError):
        await provider.complete("m", asked(), None)
    server.reset({"agents": {"A": {"faults": [{"kind": "hang"}]}}})
    probe = asyncio.create_task(provider.complete("m", asked(), None))
    waiting = asyncio.create_task(provider.complete("m", asked(), None))
    while server.stats(prompts=False)["in_flight"] == 0:
        await asyncio.sleep(0.01)
    server.reset({})
    probe.cancel()
    assert (await waiting).content == "out(A,1)"


async def test_what_is_not_the_keys_fault_does_not_rest_it(ring: RingProvider, server: ScriptedServer) -> None:
    server.reset(
        {
            "agents": {
                "A": {"faults": [{"kind": "status", "status": 400, "first": 1}, {"kind": "status", "status": 503, "first": 2}]}
            }
        }
    )
    with pytest.raises(InvalidError, match="bad_request"):
        await ring.complete("m", asked(), None)
    with pytest.raises(UnavailableError, match="overloaded"):
        await ring.complete("m", asked(), None)
    await ring.complete("m", asked(), None)
    assert used(server) == "abc"


async def test_no_key_in_a_log_an_error_or_a_listing(
    ring: RingProvider, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    said = {"status": 401, "message": f"these keys are no good: {' '.join(KEYS)}"}
    refuse(server, a=said, b=said, c=said)
    with caplog.at_level(logging.DEBUG):
        result = await through(ring)
        await ring.models()
    assert isinstance(result.result, Failure)
    shown = caplog.text + result.result.detail + json.dumps([attempt.document() for attempt in result.attempts]) + repr(vars(ring))
    assert not [key for key in KEYS if key in shown]
    assert "Authorization" not in server.stats()["listing_heads"][-1]
