"""REA-7 over HTTP: what is asked is shown, answered once, and the run goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.unit.orca_agent.api.service import Service, code, spec_of

FLOW: dict[str, Any] = {"swarm_type": "AgentRearrange", "rearrange_flow": "A -> H -> B"}


async def awaiting(agent: Service) -> dict[str, Any]:
    run_id = await agent.store(spec_of("A", "B", **FLOW))
    async with asyncio.timeout(10):
        while (document := await agent.run(run_id))["status"] != "awaiting_input":
            await asyncio.sleep(0.02)
    return document


async def say(agent: Service, run_id: str, text: str, **more: str) -> httpx.Response:
    headers = {"Idempotency-Key": more.pop("key")} if "key" in more else {}
    return await agent.client.post(f"/v1/runs/{run_id}/input", json={"content": text, **more}, headers=headers)


async def test_a_run_shows_what_it_asks_and_goes_on_with_the_answer(agent: Service) -> None:
    document = await awaiting(agent)
    (asked,) = document["asked"]
    assert (asked["path"], asked["step"]) == ("1.1.0.0.0", "H")
    assert asked["messages"] == [{"role": "user", "content": "TASK"}, {"role": "user", "content": "A: out(A,1)"}]
    assert (await agent.client.get("/health")).json()["queue"]["awaiting_input"] == 1
    listed = (await agent.client.get("/v1/runs?status=awaiting_input")).json()["runs"]
    assert [run["id"] for run in listed] == [document["id"]]
    assert code(await agent.client.get(document["output"])) == (409, "run_unended")
    answer = await say(agent, document["id"], "OK", path="1.1.0.0.0", key="one")
    assert (answer.status_code, answer.json()["asked"]) == (202, [])
    ended = await agent.ended(document["id"])
    output = (await agent.client.get(ended["output"])).json()
    assert [message["content"] for message in output["output"]] == ["out(A,1)", "OK", "out(B,1)"]
    assert (await say(agent, document["id"], "OK", key="one")).status_code == 202
    assert code(await say(agent, document["id"], "no", key="one")) == (409, "idempotency_conflict")
    kinds = [event.kind for event in await agent.follow(document["id"])]
    assert [kind for kind in kinds if "input" in kind] == ["awaiting_input", "input_given"]


async def test_a_completion_is_answered_when_its_run_waits_for_a_person(agent: Service) -> None:
    spec = spec_of("A", "B", **FLOW)
    answer = await agent.client.post("/v1/swarm/completions", json=spec, headers={"Idempotency-Key": "one"})
    document = answer.json()
    assert (answer.status_code, document["status"], document["swarm_type"]) == (202, "awaiting_input", "AgentRearrange")
    assert [asked["step"] for asked in document["asked"]] == ["H"]
    assert (await say(agent, document["job_id"], "OK")).status_code == 202
    await agent.ended(document["job_id"])
    again = await agent.client.post("/v1/swarm/completions", json=spec, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["status"], len(agent.model.calls)) == (200, "success", 2)


async def test_a_stream_ends_with_what_a_person_is_asked_and_the_run_waits_on(agent: Service) -> None:
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A", "B", **FLOW, stream=True))
    frames = [frame.split("\n") for frame in answer.text.strip().split("\n\n")]
    kinds = [lines[0].removeprefix("event: ") for lines in frames if lines[0].startswith("event: ")]
    assert [kind for kind in kinds if kind != "chunk"] == ["metadata", "start", "agent_start", "agent_end", "awaiting_input"]
    document = json.loads(frames[-1][1].removeprefix("data: "))
    assert [asked["step"] for asked in document["asked"]] == ["H"]
    state = await agent.run(document["job_id"])
    assert (state["status"], state["cancel_requested"]) == ("awaiting_input", False)


async def test_cancelled_while_it_waits(agent: Service) -> None:
    document = await awaiting(agent)
    assert (await agent.client.post(f"/v1/runs/{document['id']}/cancel", json={})).status_code == 202
    assert (await agent.ended(document["id"]))["status"] == "partial"
    assert code(await say(agent, document["id"], "late")) == (409, "run_ended")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, (400, "schema")),
        ({"content": ""}, (400, "schema")),
        ({"content": 1}, (400, "schema")),
        ({"content": "x", "text": "y"}, (400, "schema")),
        ({"content": "x", "path": "1.1"}, (400, "schema")),
        ({"content": "x" * 1_000_001}, (400, "schema")),
        ({"content": "x"}, (409, "not_awaiting")),
        ({"content": "x", "path": "1.1.0.0.0"}, (409, "not_awaiting")),
    ],
)
async def test_what_is_no_answer_is_refused(idle: Service, body: dict[str, Any], wanted: tuple[int, str]) -> None:
    run_id = await idle.store(spec_of("A", "B", **FLOW))
    assert code(await idle.client.post(f"/v1/runs/{run_id}/input", json=body)) == wanted
    unknown = await idle.client.post(f"/v1/runs/{'0' * 36}/input", json={"content": "x"})
    assert code(unknown) == (404, "run_unknown")
