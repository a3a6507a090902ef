"""Work items that wait for their moment: no node gets one before it, and their requester can take them back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.middle_server.room import NOW, SPEC, Room, code, node_key

A, B = node_key(1), node_key(2)


def spec_for(ahead: float) -> dict[str, Any]:
    local = datetime.fromtimestamp(NOW + ahead + 3600, UTC)  # Madrid is an hour ahead in January
    return {**SPEC, "schedule": {"scheduled_time": local.strftime("%Y-%m-%dT%H:%M:%S"), "timezone": "Europe/Madrid"}}


async def listed(middle: Room, status: str) -> list[str]:
    answer = await middle.client.get(f"/v1/work-items?status={status}", headers=middle.person)
    return [item["id"] for item in answer.json()["work_items"]]


async def test_an_item_is_given_to_a_node_at_its_moment_and_not_before(middle: Room) -> None:
    created = await middle.create(spec=spec_for(60))
    item = created.json()["id"]
    assert created.json()["status"] == "scheduled"
    assert created.json()["scheduled"] == {
        "due": "2027-01-15T08:01:00.000Z",
        "local": "2027-01-15T09:01:00.000+01:00",
        "timezone": "Europe/Madrid",
    }
    later = await middle.item()
    assert (await middle.fetch(A)).data["id"] == later, "what may be done now is not held up"
    assert (await listed(middle, "scheduled"), await listed(middle, "queued")) == ([item], [])
    middle.later(59)
    assert code(await middle.ask("fetch-todo", B, claimId="c" * 16)) == (409, "nothing_available")
    middle.later(1)
    assert await middle.status(item) == "queued"
    assert (await listed(middle, "scheduled"), await listed(middle, "queued")) == ([], [item])
    assert (await middle.fetch(B)).data["id"] == item


async def test_cancelled_before_its_moment_it_is_never_given_out(middle: Room) -> None:
    item = await middle.item(spec=spec_for(600))
    answer = await middle.client.post(f"/v1/work-items/{item}/cancel", headers=middle.person)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    middle.later(700)
    assert code(await middle.ask("fetch-todo", A, claimId="c" * 16)) == (409, "nothing_available")


async def test_who_asks_again_when_the_moment_is_over_gets_the_first_answer(middle: Room) -> None:
    first = await middle.create(idempotency_key="one", spec=spec_for(600))
    middle.later(7200)
    again = await middle.create(idempotency_key="one", spec=spec_for(600))
    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize(("ahead", "wanted"), [(-3600, "schedule_past"), (400 * 86400, "schedule_far")])
async def test_a_moment_that_is_none_is_refused(middle: Room, ahead: float, wanted: str) -> None:
    assert code(await middle.create(spec=spec_for(ahead))) == (400, wanted)


async def test_an_item_that_asks_a_person_is_refused_because_nobody_is_there(middle: Room) -> None:
    spec = {**SPEC, "swarm_type": "AgentRearrange", "rearrange_flow": "A -> H"}
    assert code(await middle.create(spec=spec)) == (400, "nobody_to_ask")
    named = [{"agent_name": name, "model_name": "m"} for name in ("A", "H")]
    assert (await middle.create(spec={**spec, "agents": named})).status_code == 201, "an agent may be called so"
