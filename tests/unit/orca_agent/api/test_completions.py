"""The Swarms API: one request, one answer, and never a success without one."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from orca_protocol.errors import InvalidError, UnavailableError
from tests.unit.orca_agent.api.service import Service, code, service, spec_of

AGENT = {"agent_config": {"agent_name": "A", "model_name": "scripted", "system_prompt": "AGENT:A"}, "task": "T"}


async def test_a_swarm_is_run_and_answered(agent: Service) -> None:
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A", "B", name="N", description="D"))
    assert answer.status_code == 200
    document = answer.json()
    assert document["output"] == [{"role": "A", "content": "out(A,1)"}, {"role": "B", "content": "out(B,1)"}]
    assert (document["status"], document["swarm_name"], document["number_of_agents"]) == ("success", "N", 2)
    assert (await agent.run(document["job_id"]))["status"] == "success"


async def test_a_partial_answer_is_an_answer(agent: Service) -> None:
    agent.model.failures["B"] = [InvalidError("bad_request", "no")]
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A", "B", swarm_type="ConcurrentWorkflow"))
    assert (answer.status_code, answer.json()["status"]) == (200, "partial")


async def test_no_answer_is_no_success(agent: Service) -> None:
    agent.model.failures["A"] = [InvalidError("bad_request", "no")]
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A"))
    assert code(answer) == (502, "run_error")
    response = answer.json()["response"]
    assert (response["status"], response["job_id"]) == ("error", answer.json()["run"])
    assert response["output"][0]["error"] == {"code": "bad_request", "detail": "no"}


async def test_a_model_that_is_not_there_is_the_callers_to_correct(agent: Service) -> None:
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A", model="gpt-9"))
    assert code(answer) == (400, "model_unavailable")
    assert "scripted" in answer.json()["detail"]
    assert answer.headers["x-should-retry"] == "false"


async def test_a_model_whose_server_may_come_back_is_worth_another_try(agent: Service) -> None:
    agent.model.listing_error = UnavailableError("connect_failed", "nobody there")
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A"))
    assert code(answer) == (503, "model_unavailable")
    assert "could not be asked: scripted (connect_failed: nobody there)" in answer.json()["detail"]
    assert "Retry-After" in answer.headers
    assert "x-should-retry" not in answer.headers
    one = await agent.client.get("/v1/models/gpt-9")
    assert (one.status_code, one.json()["error"]["type"], one.json()["error"]["code"]) == (503, "server_error", "model_unavailable")


async def test_a_model_that_every_server_knows_not_is_not_found(agent: Service) -> None:
    one = await agent.client.get("/v1/models/gpt-9")
    assert (one.status_code, one.json()["error"]["type"]) == (404, "not_found_error")
    assert one.json()["error"]["code"] == "model_unavailable"


@pytest.mark.parametrize(
    ("changed", "wanted", "named"),
    [
        ({"swarm_type": "GroupChat"}, "agents_too_few", "agents"),
        ({"colour": "red"}, "schema", "colour"),
        ({"img": "x"}, "img_malformed", "img"),
    ],
)
async def test_what_is_wrong_with_a_swarm_is_named(idle: Service, changed: dict[str, Any], wanted: str, named: str) -> None:
    answer = await idle.client.post("/v1/swarm/completions", json={**spec_of("A"), **changed})
    assert code(answer) == (400, wanted)
    assert named in answer.json()["detail"]


async def test_the_same_key_gets_the_same_answer(agent: Service) -> None:
    answers = await asyncio.gather(
        *(agent.client.post("/v1/swarm/completions", json=spec_of("A"), headers={"Idempotency-Key": "k"}) for _ in range(3))
    )
    assert len({answer.text for answer in answers}) == 1
    assert len(agent.model.calls) == 1


async def test_api_14_who_goes_away_wants_no_answer(agent: Service) -> None:
    agent.model.latency["A"] = 60.0
    await _leave(agent)
    (run,) = (await agent.client.get("/v1/runs")).json()["runs"]
    await agent.ended(run["id"])
    assert (await agent.client.get(run["output"])).json()["stopped"] == "cancelled"
    assert agent.model.in_flight == 0


async def test_api_14_who_goes_away_and_said_so_comes_back_for_it(agent: Service) -> None:
    agent.model.latency["A"] = 0.5
    await _leave(agent, on_disconnect="continue")
    (run,) = (await agent.client.get("/v1/runs")).json()["runs"]
    assert (await agent.ended(run["id"]))["status"] == "success"


async def test_a_second_caller_does_not_cancel_the_firsts_run(agent: Service) -> None:
    agent.model.latency["A"] = 1.0
    headers = {"Idempotency-Key": "k"}
    first = asyncio.create_task(agent.client.post("/v1/swarm/completions", json=spec_of("A"), headers=headers))
    await agent.until(lambda: agent.model.in_flight == 1)
    with pytest.raises(httpx.ReadTimeout):
        await agent.client.post("/v1/swarm/completions", json=spec_of("A"), headers=headers, timeout=0.2)
    assert (await first).json()["status"] == "success"


async def _leave(agent: Service, **params: str) -> None:
    async with httpx.AsyncClient(base_url=agent.address) as caller:
        asking = asyncio.create_task(caller.post("/v1/swarm/completions", json=spec_of("A"), params=params))
        await agent.until(lambda: agent.model.in_flight == 1)
        asking.cancel()
        await asyncio.wait([asking])


async def test_a_wrong_choice_is_refused_before_anything_is_stored(idle: Service) -> None:
    answer = await idle.client.post("/v1/swarm/completions", json=spec_of("A"), params={"on_disconnect": "maybe"})
    assert code(answer) == (400, "query")
    assert (await idle.client.get("/v1/runs")).json()["runs"] == []


async def test_a_run_that_is_cancelled_by_somebody_is_no_success(agent: Service) -> None:
    agent.model.latency["A"] = 60.0
    asking = asyncio.create_task(agent.client.post("/v1/swarm/completions", json=spec_of("A")))
    await agent.until(lambda: agent.model.in_flight == 1)
    (run,) = (await agent.client.get("/v1/runs")).json()["runs"]
    await agent.client.post(f"/v1/runs/{run['id']}/cancel")
    answer = await asking
    assert code(answer) == (409, "run_cancelled")
    assert answer.json()["response"]["stopped"] == "cancelled"


async def test_a_service_that_stops_says_where_the_answer_will_be(idle: Service) -> None:
    asking = asyncio.create_task(idle.client.post("/v1/swarm/completions", json=spec_of("A")))
    await asyncio.sleep(0.2)
    idle.services.stopping.set()
    answer = await asking
    assert code(answer) == (503, "stopping")
    assert answer.headers["x-should-retry"] == "false", "a second try would be a second run"
    run = await idle.services.queue.states(status=None, after=0, limit=9)
    assert run[0].run.id in answer.json()["detail"]
    assert not run[0].is_cancelled


async def test_a_wait_has_an_end_and_the_run_goes_on(database_url: str) -> None:
    async with service(database_url, works=False, completion_seconds=0.1) as idle:
        answer = await idle.client.post("/v1/swarm/completions", json=spec_of("A"))
        assert code(answer) == (504, "run_goes_on")
        (run,) = (await idle.client.get("/v1/runs")).json()["runs"]
        assert (run["status"], run["cancel_requested"]) == ("queued", False)


async def test_a_wait_outlasts_the_bound_on_requests(database_url: str) -> None:
    async with service(database_url, request_seconds=0.3) as agent:
        agent.model.latency["A"] = 0.6
        assert (await agent.client.post("/v1/swarm/completions", json=spec_of("A"))).status_code == 200


async def test_one_agent_is_run_and_answered(agent: Service) -> None:
    answer = await agent.client.post("/v1/agent/completions", json=AGENT)
    assert answer.status_code == 200
    document = answer.json()
    assert (document["success"], document["name"], document["temperature"]) == (True, "A", 0.5)
    assert document["outputs"] == [{"role": "A", "content": "out(A,1)"}]
    assert document["usage"]["total_tokens"] == document["usage"]["input_tokens"] + 1
    assert agent.model.calls[0].request.messages[-1].content == "T"


@pytest.mark.parametrize(
    ("changed", "wanted", "named"),
    [
        ({"history": [{"role": "system", "content": "x"}]}, "schema", "history[0].role"),
        ({"img": "x"}, "img_malformed", "img"),
        ({"task": None}, "schema", "task"),
        ({"agent_config": {"agent_name": "A"}}, "schema", "agent_config.model_name"),
    ],
)
async def test_what_an_agent_cannot_be_asked_is_named(idle: Service, changed: dict[str, Any], wanted: str, named: str) -> None:
    answer = await idle.client.post("/v1/agent/completions", json={**AGENT, **changed})
    assert code(answer) == (400, wanted)
    assert named in answer.json()["detail"]


async def test_an_empty_history_is_none(agent: Service) -> None:
    assert (await agent.client.post("/v1/agent/completions", json={**AGENT, "history": []})).status_code == 200
