"""API-11: a schedule over HTTP: stored, shown, listed, run once at its moment, or cancelled before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.unit.orca_agent.api.service import Service, code, spec_of


def spec_for(ahead: float, **fields: Any) -> dict[str, Any]:
    local = (datetime.now(UTC) + timedelta(seconds=ahead)).astimezone(ZoneInfo("Europe/Madrid")).replace(tzinfo=None)
    return spec_of("A", **fields, schedule={"scheduled_time": local.isoformat(), "timezone": "Europe/Madrid"})


async def test_a_run_waits_for_its_moment_and_its_result_is_read_like_any(agent: Service) -> None:
    run_id = await agent.store(spec_for(0.7))
    document = await agent.run(run_id)
    assert (document["status"], document["scheduled"]["timezone"]) == ("scheduled", "Europe/Madrid")
    due, local = (datetime.fromisoformat(document["scheduled"][field]) for field in ("due", "local"))
    assert due == local
    assert local.utcoffset() == local.astimezone(ZoneInfo("Europe/Madrid")).utcoffset()
    assert datetime.fromisoformat(document["created"]) < due
    assert [run["id"] for run in (await agent.client.get("/v1/runs?status=scheduled")).json()["runs"]] == [run_id]
    assert (await agent.client.get("/health")).json()["queue"] == {"queued": 0, "running": 0, "scheduled": 1, "awaiting_input": 0}
    ended = await agent.ended(run_id)
    assert (ended["status"], len(agent.model.calls)) == ("success", 1)
    output = (await agent.client.get(ended["output"])).json()
    assert output["output"][0]["content"] == "out(A,1)"
    assert output["execution_time"] < 5
    assert (await agent.client.get("/v1/runs?status=scheduled")).json()["runs"] == []


async def test_cancelled_before_its_moment_it_never_runs(agent: Service) -> None:
    run_id = await agent.store(spec_for(3600))
    assert (await agent.client.post(f"/v1/runs/{run_id}/cancel", json={})).status_code == 202
    assert (await agent.ended(run_id))["status"] == "error"
    assert agent.model.calls == []


async def test_a_completion_is_answered_with_the_jobs_id_and_later_with_what_it_said(agent: Service) -> None:
    spec = spec_for(0.7, name="N")
    answer = await agent.client.post("/v1/swarm/completions", json=spec, headers={"Idempotency-Key": "one"})
    document = answer.json()
    assert (answer.status_code, document["status"], document["swarm_name"]) == (202, "scheduled", "N")
    assert answer.headers["location"] == f"/v1/runs/{document['job_id']}"
    assert document["scheduled"]["timezone"] == "Europe/Madrid"
    await agent.ended(document["job_id"])
    again = await agent.client.post("/v1/swarm/completions", json=spec, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["job_id"], again.json()["status"]) == (200, document["job_id"], "success")
    assert len(agent.model.calls) == 1


async def test_a_stream_is_not_kept_open_for_a_moment_that_has_not_come(agent: Service) -> None:
    answer = await agent.client.post("/v1/swarm/completions", json=spec_for(3600, stream=True))
    assert (answer.status_code, answer.json()["status"]) == (202, "scheduled")
    assert not (await agent.run(answer.json()["job_id"]))["cancel_requested"]


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/swarm/completions"])
@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ({"scheduled_time": "2020-01-01T00:00:00Z"}, "schedule_past"),
        ({"scheduled_time": "2026-03-29T02:30:00", "timezone": "Europe/Berlin"}, "schedule_gap"),
        ({"scheduled_time": "2026-03-29T02:30:00", "timezone": "Berlin"}, "zone_unknown"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_stored(idle: Service, path: str, schedule: dict[str, str], wanted: str) -> None:
    spec = spec_of("A", schedule=schedule)
    answer = await idle.client.post(path, json={"spec": spec} if path == "/v1/runs" else spec)
    assert code(answer) == (400, wanted)
    assert (await idle.client.get("/v1/runs")).json()["runs"] == []
