"""Runs over HTTP: stored once, read, listed, cancelled; their output and proof when there is one."""

from __future__ import annotations

import asyncio
import json

import pytest

from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError
from tests.unit.orca_agent.api.service import Service, code, service, spec_of


async def test_a_run_is_stored_run_and_answered(agent: Service) -> None:
    answer = await agent.client.post("/v1/runs", json={"spec": spec_of("A", "B"), "timeout": 60})
    assert answer.status_code == 202
    document = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{document['id']}"
    assert document["deadline"] is not None
    ended = await agent.ended(document["id"])
    assert (ended["status"], ended["attempts"], ended["cancel_requested"]) == ("success", 1, False)
    output = (await agent.client.get(ended["output"])).json()
    assert [message["content"] for message in output["output"]] == ["out(A,1)", "out(B,1)"]
    assert (output["job_id"], output["status"]) == (document["id"], "success")


async def test_a_spec_that_is_a_text_keeps_its_bytes(idle: Service) -> None:
    text = json.dumps(spec_of("A"), indent=3)
    answer = await idle.client.post("/v1/runs", json={"spec": text})
    assert answer.json()["work_item"] == f"spec:{sha256_hex(text.encode())}"


async def test_the_same_key_gets_the_same_run_and_another_request_a_409(idle: Service) -> None:
    ids = {await idle.store(spec_of("A"), **{"Idempotency-Key": "one"}) for _ in range(3)}
    assert len(ids) == 1
    assert await idle.store(spec_of("A"), **{"Idempotency-Key": "two"}) not in ids
    other = await idle.client.post("/v1/runs", json={"spec": spec_of("B")}, headers={"Idempotency-Key": "one"})
    assert code(other) == (409, "idempotency_conflict")
    assert len({await idle.store(spec_of("A")) for _ in range(2)}) == 2, "without a key each is a run of its own"


@pytest.mark.parametrize("key", ["x" * 201, "a b"])
async def test_a_key_that_is_none_is_refused(idle: Service, key: str) -> None:
    answer = await idle.client.post("/v1/runs", json={"spec": spec_of("A")}, headers={"Idempotency-Key": key})
    assert code(answer) == (400, "idempotency_key")


@pytest.mark.parametrize(
    ("body", "wanted", "named"),
    [
        ("{", "json_malformed", "body"),
        ("[]", "schema", "document"),
        ('{"spec": {}, "when": 1}', "schema", "when"),
        ('{"spec": {"task": "T"}, "timeout": -1}', "schema", "timeout"),
        ('{"spec": {"task": "T", "agnets": []}}', "schema", "agnets"),
        ('{"spec": {"task": "T", "agents": [{"agent_name": "A"}]}}', "schema", "agents[0].model_name"),
        ('{"spec": {"task": "T"}}', "no_agents", "agents"),
        ('{"spec": "no json"}', "json_malformed", "spec"),
        ('{"spec": {"task": "T", "task": "U"}}', "json_duplicate_key", "task"),
    ],
)
async def test_what_is_wrong_is_named(idle: Service, body: str, wanted: str, named: str) -> None:
    answer = await idle.client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    status, found = code(answer)
    assert status == 400
    assert named in answer.json()["detail"]
    assert found == wanted or wanted.startswith("json")


async def test_a_body_that_is_not_called_json_is_refused(idle: Service) -> None:
    body = json.dumps({"spec": spec_of("A")})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert code(await idle.client.post("/v1/runs", content=body, headers={"Content-Type": kind})) == (415, "media_type")
    assert code(await idle.client.post("/v1/runs", content=body)) == (415, "media_type")


async def test_a_body_beyond_the_bound_is_refused(database_url: str) -> None:
    async with service(database_url, works=False, body_bytes=1000) as idle:
        assert code(await idle.client.post("/v1/runs", json={"spec": "x" * 1000})) == (413, "body_oversize")


async def test_an_unknown_run_is_unknown_everywhere(idle: Service) -> None:
    for run_id in ("0" * 36, "x", "a" * 500, "%00"):
        for method, path in [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/output"), ("GET", "/proof")]:
            answer = await idle.client.request(method, f"/v1/runs/{run_id}{path}")
            assert code(answer) == (404, "run_unknown")


async def test_before_the_end_there_is_neither_output_nor_proof(idle: Service) -> None:
    run_id = await idle.store(spec_of("A"))
    for what in ("output", "proof"):
        assert code(await idle.client.get(f"/v1/runs/{run_id}/{what}")) == (409, "run_unended")


async def test_a_run_that_failed_has_none_either_and_says_why(agent: Service) -> None:
    ended = await agent.ended(await agent.store(spec_of("A", model="gpt-9")))
    assert ended["status"] == "failed"
    for what in ("output", "proof"):
        answer = await agent.client.get(f"/v1/runs/{ended['id']}/{what}")
        assert code(answer) == (409, "output_absent")
        assert "model_unavailable" in answer.json()["detail"]


async def test_a_proof_is_made_of_what_the_journal_holds(agent: Service) -> None:
    ended = await agent.ended(await agent.store(spec_of("A", "B")))
    answer = await agent.client.get(f"/v1/runs/{ended['id']}/proof")
    assert answer.json() == {"run": ended["id"], "cid": "bafy", "signer": "SIGNER"}
    (proved,) = agent.prover.proved
    assert [entry.name for entry in proved.entries] == ["A", "B"]
    assert (proved.output.status, proved.run.id) == ("success", ended["id"])


async def test_a_run_is_cancelled_while_it_runs(agent: Service) -> None:
    agent.model.latency["B"] = 60.0
    run_id = await agent.store(spec_of("A", "B"))
    await agent.until(lambda: len(agent.model.calls) == 2)
    answer = await agent.client.post(f"/v1/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)
    ended = await agent.ended(run_id)
    assert ended["status"] == "partial"
    assert (await agent.client.get(ended["output"])).json()["stopped"] == "cancelled"
    assert code(await agent.client.post(f"/v1/runs/{run_id}/cancel")) == (409, "run_ended")


async def test_a_queued_run_is_cancelled_before_it_is_begun(database_url: str) -> None:
    async with service(database_url, works=False) as idle:
        run_id = await idle.store(spec_of("A"))
        assert (await idle.client.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
        await idle.worker.work(run_id)
        assert (await idle.run(run_id))["status"] == "error"
        assert idle.model.calls == []


async def test_runs_are_listed_by_page_and_status(idle: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orca_agent.api.runs._PAGE", 2)
    ids = [await idle.store(spec_of("A")) for _ in range(3)]
    first = (await idle.client.get("/v1/runs")).json()
    assert [run["id"] for run in first["runs"]] == ids[:2]
    rest = (await idle.client.get("/v1/runs", params={"after": first["after"]})).json()
    assert ([run["id"] for run in rest["runs"]], rest["after"]) == (ids[2:], None)
    assert (await idle.client.get("/v1/runs", params={"status": "success"})).json()["runs"] == []
    for query in ({"status": "lost"}, {"after": "-1"}):
        assert code(await idle.client.get("/v1/runs", params=query)) == (400, "query")


async def test_a_full_queue_says_429(database_url: str) -> None:
    async with service(database_url, works=False, at_most=2) as idle:
        await asyncio.gather(*(idle.store(spec_of("A"), **{"Idempotency-Key": key}) for key in "ab"))
        answer = await idle.client.post("/v1/runs", json={"spec": spec_of("A")})
        assert code(answer) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        await idle.store(spec_of("A"), **{"Idempotency-Key": "a"})


async def test_a_service_without_a_prover_says_so(idle: Service) -> None:
    object.__setattr__(idle.services, "prover", None)
    run_id = await idle.store(spec_of("A"))
    assert code(await idle.client.get(f"/v1/runs/{run_id}/proof")) == (404, "proof_unavailable")


async def test_what_the_prover_refuses_is_told(agent: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise InvalidError("proof_too_large", "too large")

    monkeypatch.setattr(agent.prover, "prove", refuse)
    ended = await agent.ended(await agent.store(spec_of("A")))
    assert code(await agent.client.get(f"/v1/runs/{ended['id']}/proof")) == (413, "proof_too_large")
