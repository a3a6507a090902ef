"""Keys at the door: what each may do, whose runs are whose, and what the answers say."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from orca_agent.store.keys import KeyTerms
from orca_agent.work.proving import facts_of
from orca_protocol.budget import Budget
from tests.unit.orca_agent.api.service import Service, code, service, spec_of

OPERATOR = {"x-api-key": "a-key-that-nobody-guesses"}
NO_RUN = "0" * 36


async def stored(idle: Service, holder: dict[str, str], **headers: str) -> str:
    return await idle.store(spec_of("A"), **holder, **headers)


async def listed(idle: Service, holder: dict[str, str]) -> list[str]:
    answer = await idle.client.get("/v1/runs", headers=holder)
    return [run["id"] for run in answer.json()["runs"]]


# -- who is let in ------------------------------------------------------------------------------------------------------------


async def test_once_a_key_was_issued_nobody_is_let_in_without_one(idle: Service) -> None:
    assert (await idle.client.get("/v1/runs")).status_code == 200
    alice = await idle.issue("alice")
    refused = await idle.client.get("/v1/runs")
    assert code(refused) == (401, "credentials_missing")
    assert "ORCA_API_KEY" in refused.json()["detail"]
    assert (await idle.client.get("/v1/runs", headers=alice.shown)).status_code == 200
    await idle.services.keys.revoke("alice")
    assert code(await idle.client.get("/v1/runs")) == (401, "credentials_missing")
    assert (await idle.client.get("/health")).status_code == 200


async def test_each_way_a_key_is_none_has_its_code(idle: Service) -> None:
    alice = await idle.issue("alice")
    end = datetime.now(UTC) - timedelta(seconds=1)
    _, late = await idle.services.keys.issue("late", KeyTerms(), expires=end)
    bearer = {"Authorization": f"Bearer {alice.shown['x-api-key']}"}
    assert (await idle.client.get("/v1/runs", headers=bearer)).status_code == 200
    await idle.services.keys.revoke("alice")
    for shown, wanted in (
        (alice.shown, "credentials_revoked"),
        (bearer, "credentials_revoked"),
        ({"x-api-key": late.get_secret_value()}, "credentials_expired"),
        ({"x-api-key": alice.shown["x-api-key"] + "x"}, "credentials_unknown"),
    ):
        answer = await idle.client.get("/v1/runs", headers=shown)
        assert code(answer) == (401, wanted)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


LOOKING = [("GET", path) for path in ("/v1/runs", f"/v1/runs/{NO_RUN}", "/v1/models/available", "/v1/rate/limits")]
DOING = [("POST", path) for path in ("/v1/runs", f"/v1/runs/{NO_RUN}/cancel", "/v1/swarm/completions", "/v1/agent/completions")]
DOING += [("POST", path) for path in ("/v1/chat/completions", "/v1/swarm/batch/completions", f"/v1/runs/{NO_RUN}/input")]
DOING.append(("GET", f"/v1/runs/{NO_RUN}/events?on_disconnect=cancel"))


@pytest.mark.parametrize(
    ("scopes", "looks", "does"), [(["read"], True, False), (["run"], False, True), (["admin"], True, True), ([], False, False)]
)
async def test_a_key_does_what_its_scopes_say(idle: Service, scopes: list[Any], looks: bool, does: bool) -> None:
    holder = await idle.issue("someone", scopes=scopes)
    for routes, may in ((LOOKING, looks), (DOING, does and looks)):
        for method, path in routes:
            if "events" in path and not looks:
                continue  # following is looking
            answer = await idle.client.request(method, path, headers=holder.shown)
            is_let_in = answer.status_code != 403
            assert is_let_in is (may if method == "GET" else does), (method, path, answer.text)
            if not is_let_in:
                problem = answer.json()
                assert problem.get("error", problem)["code"] == "scope_missing"
                assert answer.headers["x-ratelimit-limit-minute"] == "100", "every answer to a key says how it stands"


async def test_many_wrong_keys_from_one_address_are_no_more_looked_at(database_url: str) -> None:
    async with service(database_url, works=False, failures=3, api_key=SecretStr(OPERATOR["x-api-key"])) as idle:
        alice, bob = await idle.issue("alice"), await idle.issue("bob")
        assert (await idle.client.get("/v1/runs", headers=alice.shown)).status_code == 200
        for number in range(3):
            answer = await idle.client.get("/v1/runs", headers={"x-api-key": f"guess {number}"})
            assert code(answer) == (401, "credentials_unknown")
        for shown in ({"x-api-key": "guess"}, {}, bob.shown, OPERATOR):
            answer = await idle.client.get("/v1/runs", headers=shown)
            assert code(answer) == (429, "too_many_failures")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert (await idle.client.get("/v1/runs", headers=alice.shown)).status_code == 200, "who was right before is let in"
        await idle.services.keys.revoke("alice")
        assert code(await idle.client.get("/v1/runs", headers=alice.shown)) == (429, "too_many_failures")


async def test_no_secret_gets_into_a_log_or_a_spec(idle: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    alice = await idle.issue("alice", per_minute=4)
    secret = alice.shown["x-api-key"]
    answer = await idle.client.post("/v1/runs", json={"spec": spec_of("A", rules=f"say {secret}")}, headers=alice.shown)
    assert code(answer) == (400, "secret_in_spec")
    spelt = json.dumps(spec_of("A", rules="SECRET")).replace("SECRET", "".join(f"\\u{ord(letter):04x}" for letter in secret))
    answer = await idle.client.post("/v1/runs", json={"spec": spelt}, headers=alice.shown)
    assert code(answer) == (400, "secret_in_spec")
    for wrong in ({"x-api-key": secret}, {"x-api-key": secret + "x"}):
        for _ in range(3):
            await idle.client.get("/v1/runs", headers=wrong)
    assert secret not in caplog.text
    assert secret not in answer.text


# -- whose runs ---------------------------------------------------------------------------------------------------------------


async def test_a_run_is_its_keys_own_and_an_admins_and_nobody_elses(database_url: str) -> None:
    async with service(database_url, works=False, api_key=SecretStr(OPERATOR["x-api-key"])) as idle:
        alice, bob, admin = await idle.issue("alice"), await idle.issue("bob"), await idle.issue("admin", scopes=["admin"])
        of_alice, of_bob, of_operator = [await stored(idle, shown) for shown in (alice.shown, bob.shown, OPERATOR)]
        assert await listed(idle, alice.shown) == [of_alice]
        assert await listed(idle, bob.shown) == [of_bob]
        assert await listed(idle, admin.shown) == await listed(idle, OPERATOR) == [of_alice, of_bob, of_operator]
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/output"), ("GET", "/proof"), ("POST", "/cancel")):
            foreign = await idle.client.request(method, f"/v1/runs/{of_alice}{path}", headers=bob.shown)
            nothing = await idle.client.request(method, f"/v1/runs/{NO_RUN}{path}", headers=bob.shown)
            assert code(foreign) == code(nothing) == (404, "run_unknown"), path
            assert foreign.json()["detail"].replace(of_alice, NO_RUN) == nothing.json()["detail"]
        said = await idle.client.post(f"/v1/runs/{of_alice}/input", json={"content": "mine"}, headers=bob.shown)
        assert code(said) == (404, "run_unknown")
        for shown, wanted in ((alice.shown, [of_alice]), (bob.shown, [of_bob]), (OPERATOR, [of_operator, of_bob, of_alice])):
            logs = (await idle.client.get("/v1/swarm/logs", headers=shown)).json()
            assert (logs["count"], [run["id"] for run in logs["logs"]]) == (len(wanted), wanted)
        assert not (await idle.client.get(f"/v1/runs/{of_alice}", headers=admin.shown)).json()["cancel_requested"]
        assert code(await idle.client.get(f"/v1/runs/{of_operator}", headers=alice.shown)) == (404, "run_unknown")
        for shown in (alice.shown, admin.shown):
            assert (await idle.client.get(f"/v1/runs/{of_alice}", headers=shown)).status_code == 200
        assert (await idle.client.post(f"/v1/runs/{of_alice}/cancel", headers=admin.shown)).status_code == 202


async def test_an_idempotency_key_is_its_callers_own(database_url: str) -> None:
    async with service(database_url, works=False, api_key=SecretStr(OPERATOR["x-api-key"])) as idle:
        holders = [(await idle.issue("alice")).shown, (await idle.issue("bob")).shown, OPERATOR]
        runs = [await stored(idle, shown, **{"Idempotency-Key": "k" * 200}) for shown in holders]
        assert len(set(runs)) == 3
        assert [await stored(idle, shown, **{"Idempotency-Key": "k" * 200}) for shown in holders] == runs


# -- how much -----------------------------------------------------------------------------------------------------------------


def told(answer: httpx.Response) -> tuple[int, int]:
    return int(answer.headers["x-ratelimit-limit-minute"]), int(answer.headers["x-ratelimit-remaining-minute"])


async def test_every_answer_says_how_a_key_stands_until_it_is_refused(idle: Service) -> None:
    alice = await idle.issue("alice", per_minute=3)
    bob = await idle.issue("bob", per_minute=3)
    for left, path in ((2, "/v1/runs"), (1, f"/v1/runs/{NO_RUN}"), (0, "/v1/rate/limits")):
        answer = await idle.client.get(path, headers=alice.shown)
        assert told(answer) == (3, left)
        assert 0 < int(answer.headers["x-ratelimit-reset"]) - time.time() <= 61
        assert "x-ratelimit-limit-day" not in answer.headers
    refused = await idle.client.get("/v1/runs", headers=alice.shown)
    assert code(refused) == (429, "rate_limited")
    assert told(refused) == (3, 0)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert told(await idle.client.get("/v1/runs", headers=bob.shown)) == (3, 2), "each key has its own"
    with psycopg.connect(idle.url) as db:
        db.execute("UPDATE orca_agent.rate_hits SET at = at - 61")
    assert told(await idle.client.get("/v1/runs", headers=alice.shown)) == (3, 2)


async def test_a_limit_by_the_day_is_told_and_held(idle: Service) -> None:
    alice = await idle.issue("alice", per_day=2)
    answers = [await idle.client.get("/v1/runs", headers=alice.shown) for _ in range(3)]
    assert [answer.headers["x-ratelimit-remaining-day"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-day"] for answer in answers} == {"2"}
    assert code(answers[2]) == (429, "rate_limited")
    assert int(answers[2].headers["retry-after"]) > 80_000


async def test_the_limits_are_told_in_the_shape_of_the_swarms_api(agent: Service) -> None:
    alice = await agent.issue("alice", per_minute=5, per_day=50, concurrent=2, calls_per_day=9)
    run_id = await stored(agent, alice.shown)
    await agent.until_ended(run_id)
    document = (await agent.client.get("/v1/rate/limits", headers=alice.shown)).json()
    assert document["success"] is True
    minute, day = document["rate_limits"]["minute"], document["rate_limits"]["day"]
    assert (minute["limit"], minute["remaining"] + minute["count"], minute["exceeded"]) == (5, 5, False)
    assert (day["limit"], day["count"]) == (50, minute["count"])
    assert document["rate_limits"]["hour"] is None
    assert document["limits"] == {
        "maximum_requests_per_minute": 5,
        "maximum_requests_per_hour": None,
        "maximum_requests_per_day": 50,
        "tokens_per_agent": 2_000_000,
    }
    assert datetime.fromisoformat(minute["reset_time"]) > datetime.fromisoformat(document["timestamp"])
    assert document["concurrent_runs"] == {"count": 0, "limit": 2}
    assert document["day_budget"]["calls"] == {"limit": 9, "spent": 1, "reserved": None}


async def test_the_operator_has_no_limits(idle: Service) -> None:
    document = (await idle.client.get("/v1/rate/limits")).json()
    assert document["rate_limits"] == {"minute": None, "hour": None, "day": None}
    assert document["limits"]["maximum_requests_per_minute"] is None
    assert "day_budget" not in document


async def test_a_key_has_no_more_runs_under_way_than_it_may(idle: Service) -> None:
    alice = await idle.issue("alice", concurrent=1)
    await stored(idle, alice.shown)
    for path, body in (("/v1/runs", {"spec": spec_of("A")}), ("/v1/swarm/completions", spec_of("A"))):
        answer = await idle.client.post(path, json=body, headers=alice.shown)
        assert code(answer) == (429, "too_many_runs")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_day_that_is_used_up_is_refused_until_tomorrow(agent: Service) -> None:
    alice = await agent.issue("alice", calls_per_day=1)
    assert (await agent.client.post("/v1/swarm/completions", json=spec_of("A"), headers=alice.shown)).status_code == 200
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A"), headers=alice.shown)
    assert code(answer) == (429, "day_budget_spent")
    assert 1 <= int(answer.headers["retry-after"]) <= 24 * 3600
    assert len(agent.model.calls) == 1


async def test_what_the_day_leaves_is_what_a_run_and_its_proof_are_held_to(agent: Service) -> None:
    alice = await agent.issue("alice", calls_per_day=1)
    answer = await agent.client.post("/v1/swarm/completions", json=spec_of("A", "B"), headers=alice.shown)
    document = answer.json()
    assert (answer.status_code, document["status"], document["stopped"]) == (200, "partial", "budget")
    assert [message["content"] for message in document["output"]] == ["out(A,1)", None]
    assert len(agent.model.calls) == 1
    shown = await agent.client.get(f"/v1/runs/{document['job_id']}/output", headers=alice.shown)
    assert shown.json()["output"] == document["output"], "it comes out of the journal again"
    assert (await agent.client.get(f"/v1/runs/{document['job_id']}/proof", headers=alice.shown)).status_code == 200
    (proved,) = agent.prover.proved
    assert facts_of(proved, network="none").ceilings.calls == 1


@pytest.mark.parametrize("bound_by", ["spec", "node"])
async def test_a_run_is_held_to_the_budgets_of_its_spec_and_its_node(database_url: str, bound_by: str) -> None:
    budget = Budget(calls=1, seconds="3600")
    async with service(database_url, budget=budget if bound_by == "node" else Budget()) as agent:
        spec = spec_of("A", "B")
        if bound_by == "spec":
            spec["budget"] = budget.document()
        answer = await agent.client.post("/v1/swarm/completions", json=spec)
        assert (answer.json()["status"], answer.json()["stopped"]) == ("partial", "budget")
        assert (await agent.run(answer.json()["job_id"]))["deadline"] is not None


async def test_money_is_bounded_only_where_prices_are_known(idle: Service) -> None:
    alice = await idle.issue("alice", cost_per_day=Decimal(1))
    answer = await idle.client.post("/v1/runs", json={"spec": spec_of("A")}, headers=alice.shown)
    assert code(answer) == (400, "price_unknown")
    assert "scripted" in answer.json()["detail"]


# -- the place in the queue ---------------------------------------------------------------------------------------------------


async def test_a_run_that_waits_says_how_many_wait_before_it(idle: Service) -> None:
    runs = []
    for number in range(3):
        answer = await idle.client.post("/v1/runs", json={"spec": spec_of("A")})
        assert (answer.json()["status"], answer.json()["position"]) == ("queued", number)
        runs.append(answer.json()["id"])
    assert [run["position"] for run in (await idle.client.get("/v1/runs")).json()["runs"]] == [0, 1, 2]
    assert await idle.services.queue.claim(runs[0], "a worker") is not None
    assert [(await idle.run(run_id))["position"] for run_id in runs] == [None, 0, 1]
    assert (await idle.client.get("/v1/runs", params={"status": "queued"})).json()["runs"][1]["position"] == 1
