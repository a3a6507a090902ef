"""Every bug of the original middle servers (shared knowledge of Koii's sources), by its number there, and that it is gone."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from orca_protocol.envelope import seal
from orca_protocol.keys import public_key_of
from tests.fakes.chain import FakeChain
from tests.integration.middle_server.room import (
    AUDIENCE,
    NOW,
    TASK,
    Room,
    cid_of,
    code,
    node_key,
    payload,
    room,
    signed,
)

A, B, C = node_key(1), node_key(2), node_key(3)
UNSTAKED = node_key(77)
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


# §1.1: no nonce, time, expiry or audience


async def test_koii_1_1_a_captured_body_is_worth_nothing_later(middle: Room) -> None:
    await middle.item()
    body = signed(payload("fetch-todo", A, middle.time[0], claimId="c" * 16), A)
    middle.later(61)
    assert code(await middle.post("fetch-todo", body)) == (401, "request_expired")


async def test_koii_1_1_a_captured_body_is_worth_nothing_elsewhere(middle: Room) -> None:
    for audience in ("other.example/summarizer/worker/fetch-todo", f"{AUDIENCE}/summarizer/worker/heartbeat"):
        answer = await middle.ask("fetch-todo", A, claimId="c" * 16, aud=audience)
        assert code(answer) == (401, "request_audience")


async def test_koii_1_1_fields_outside_the_signature_are_refused(middle: Room) -> None:
    body = signed(payload("fetch-todo", A, middle.time[0], claimId="c" * 16), A) | {"githubUsername": "mallory"}
    assert code(await middle.post("fetch-todo", body)) == (400, "schema")


async def test_koii_1_1_the_original_envelope_needs_the_operators_word_and_is_logged(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = signed({"taskId": TASK, "action": "fetch", "stakingKey": public_key_of(A), "roundNumber": 3}, A)
    async with room(database_url) as strict:
        item = await strict.item()
        assert code(await strict.post("fetch-todo", body)) == (400, "request_schema")
    async with room(database_url, legacy_envelopes=True) as lax:
        with caplog.at_level(logging.WARNING):
            answer = await lax.post("fetch-todo", body)
            again = await lax.post("fetch-todo", body)
        assert answer.json()["data"]["id"] == item
        assert again.json()["data"] == answer.json()["data"], "an unfinished assignment is returned again"
        assert "legacy envelope accepted: fetch-todo" in caplog.text
        done = {"taskId": TASK, "action": "add-todo-pr", "stakingKey": public_key_of(A), "swarmBountyId": item}
        reported = await lax.post("add-todo-pr", signed({**done, "prUrl": cid_of("x"), "publicKey": public_key_of(A)}, A))
        assert reported.json()["message"] == "PR URL updated"


# §1.2


async def test_koii_1_2_bug_1_a_slow_worker_and_its_successor_never_both_count(middle: Room) -> None:
    """No lease, no expiry: the late PR of a worker was accepted although the work had gone to another."""
    item = await middle.item()
    slow = await middle.fetch(A)
    middle.later(91)
    assert code(await middle.report(slow, cid_of("late"))) == (410, "lease_expired")
    successor = await middle.fetch(B)
    assert int(successor.data["fencingToken"]) > int(slow.data["fencingToken"])
    assert code(await middle.report(slow, cid_of("late"))) == (409, "fencing_token_stale")
    assert code(await middle.ask("heartbeat", A, **slow.fields)) == (409, "fencing_token_stale")
    assert (await middle.report(successor, cid_of("good"))).status_code == 200
    assert code(await middle.report(slow, cid_of("late"))) == (409, "fencing_token_stale")
    assert middle.sql("SELECT work_item, cid FROM middle.results") == [(item, cid_of("good"))]


async def test_koii_1_2_bug_1_a_worker_that_is_heard_keeps_its_lease_to_its_end_and_no_longer(middle: Room) -> None:
    await middle.item()
    held = await middle.fetch(A)
    for _ in range(44):
        middle.later(80)
        assert (await middle.ask("heartbeat", A, **held.fields)).status_code == 200
    assert code(await middle.ask("fetch-todo", B, claimId="b" * 16)) == (409, "nothing_available")
    middle.later(81)
    assert code(await middle.ask("heartbeat", A, **held.fields)) == (410, "lease_expired")
    await middle.fetch(B)


async def test_koii_1_2_bug_2_two_fetches_at_once_of_one_key_get_one_item(middle: Room) -> None:
    for _ in range(5):
        await middle.item()
    answers = await asyncio.gather(*(middle.ask("fetch-todo", A, claimId=f"claim-number-{n:04}") for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert {code(answer)[1] for answer in answers if answer.status_code == 409} == {"lease_held"}
    assert middle.sql("SELECT count(*) FROM middle.leases") == [(1,)]


async def test_koii_1_2_bug_2_work_of_another_task_is_never_taken(middle: Room) -> None:
    await middle.item(task_id="task-2")
    held = await middle.fetch(A, taskId="task-2")
    assert code(await middle.ask("fetch-todo", B, claimId="b" * 16)) == (409, "nothing_available")
    assert code(await middle.ask("add-todo-status", A, **held.fields)) == (403, "lease_foreign")
    assert (await middle.ask("heartbeat", A, taskId="task-2", **held.fields)).status_code == 200


async def test_koii_1_2_bug_3_the_same_item_posted_twice_at_once_is_one_item(middle: Room) -> None:
    """Check-then-create on every fetch made duplicates."""
    answers = await asyncio.gather(*(middle.create(idempotency_key="order-1") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert middle.sql("SELECT count(*) FROM middle.work_items") == [(1,)]
    assert code(await middle.create(idempotency_key="order-1", price="2")) == (409, "request_reused")


async def test_koii_1_2_bug_3_a_claim_reads_the_head_of_the_queue_and_not_the_queue(middle: Room) -> None:
    first = await middle.item()
    middle.sql(
        """INSERT INTO middle.work_items (id, requester, task_id, spec, spec_sha256, price, models, required_checks, pays_partial,
                                          status, created, updated)
           SELECT 'w' || n, requester, task_id, spec, spec_sha256, price, models, required_checks, pays_partial,
                  status, created, updated FROM middle.work_items, generate_series(1, 10000) AS n"""
    )
    middle.sql("ANALYZE middle.work_items")
    plan = middle.sql(
        """EXPLAIN (ANALYZE, FORMAT JSON)
           SELECT id FROM middle.work_items WHERE status = 'queued' AND task_id = 'task-1'
            ORDER BY place LIMIT 1 FOR UPDATE SKIP LOCKED"""
    )[0][0]
    assert "work_items_queued" in json.dumps(plan)
    assert "Seq Scan" not in json.dumps(plan)
    assert max(_rows(plan[0]["Plan"])) == 1
    assert (await middle.fetch(A)).data["id"] == first


def _rows(node: dict[str, object]) -> list[float]:
    rows = node["Actual Rows"]
    assert isinstance(rows, int | float)
    plans = node.get("Plans", [])
    assert isinstance(plans, list)
    return [rows, *(found for plan in plans for found in _rows(plan))]


@pytest.mark.parametrize("action", ACTIONS)
async def test_koii_1_2_bug_4_nothing_is_written_without_a_signature(middle: Room, action: str) -> None:
    """check-todo, add-failed-info and update-audit-result were unsigned."""
    bare = {"stakingKey": public_key_of(A), "taskId": TASK, "round": 7, "swarmBountyId": "x", "error": "poison"}
    assert code(await middle.post(action, bare)) == (400, "schema")
    forged = {"signature": seal(payload(action, A, NOW), B), "stakingKey": public_key_of(A)}
    assert code(await middle.post(action, forged)) == (401, "signature")
    for other in ACTIONS:
        if other != action:
            moved = signed(payload(other, A, NOW, aud=f"{AUDIENCE}/summarizer/worker/{action}"), A)
            assert code(await middle.post(action, moved)) == (403, "request_action")


async def test_koii_1_2_bug_4_a_past_assignee_cannot_reset_what_is_done(middle: Room) -> None:
    item = await middle.item()
    past = await middle.fetch(A)
    await middle.ask("add-todo-status", A, **past.fields)
    await middle.in_review(B)
    middle.chain.paid_out[7] = {public_key_of(B): 1_500_000}
    await middle.ask("update-audit-result", C, roundNumber=7)
    assert code(await middle.ask("add-todo-status", A, **past.fields)) == (409, "fencing_token_stale")
    assert await middle.status(item) == "done"


async def test_koii_1_2_bug_4_failure_info_comes_from_who_failed(middle: Room) -> None:
    item = await middle.item()
    held = await middle.fetch(A)
    assert code(await middle.ask("add-failed-info", B, error="poison", **held.fields)) == (403, "lease_foreign")
    assert code(await middle.ask("add-failed-info", A, error="not yet", **held.fields)) == (409, "no_match")
    await middle.ask("add-todo-status", A, status="failed", **held.fields)
    await middle.ask("add-failed-info", A, error="out of memory", **held.fields)
    assert middle.sql("SELECT work_item, worker, detail FROM middle.failures") == [(item, public_key_of(A), "out of memory")]


async def test_koii_1_2_bug_4_audit_results_come_from_the_chain_and_are_asked_for_by_stakers(middle: Room) -> None:
    item = await middle.item()
    await middle.in_review(A)
    assert code(await middle.ask("update-audit-result", UNSTAKED, roundNumber=7)) == (403, "not_staked")
    assert code(await middle.ask("update-audit-result", B, roundNumber=7)) == (409, "distribution_absent")
    assert await middle.status(item) == "in_review"


async def test_koii_1_2_check_todo_compares_everything_that_is_said(middle: Room) -> None:
    """It ignored prUrl and githubUsername."""
    await middle.item()
    held = await middle.fetch(A, githubUsername="alice")
    await middle.report(held, cid_of("proof"))
    await middle.ask("add-round-number", A, roundNumber=7, **held.fields)
    right = {"pubKey": public_key_of(A), "roundNumber": 7, "prUrl": cid_of("proof"), "githubUsername": "alice"}
    assert (await middle.ask("check-todo", B, **right)).status_code == 200
    wrong = {"pubKey": public_key_of(C), "roundNumber": 6, "prUrl": cid_of("copy"), "githubUsername": "bob", "swarmBountyId": "x"}
    for name, value in wrong.items():
        assert code(await middle.ask("check-todo", B, **{**right, name: value})) == (409, "no_match"), name
    incomplete = await middle.ask("check-todo", B, pubKey=public_key_of(A), roundNumber=7)
    assert code(incomplete) == (400, "match_incomplete")


async def test_koii_1_2_bug_5_a_github_name_gives_no_right(middle: Room) -> None:
    """It was self-declared and used to recognise an assignee."""
    await middle.item()
    held = await middle.fetch(A, githubUsername="alice")
    assert code(await middle.ask("fetch-todo", B, claimId="b" * 16, githubUsername="alice")) == (409, "nothing_available")
    assert code(await middle.ask("add-todo-pr", B, prUrl=cid_of("x"), githubUsername="alice", **held.fields)) == (
        403,
        "lease_foreign",
    )


async def test_koii_1_2_bug_5_the_status_says_whether_to_try_again(middle: Room) -> None:
    """401 for everything hid what can be tried again."""
    answers = {
        "not JSON": await middle.client.post("/summarizer/worker/fetch-todo", content=b"{"),
        "bad signature": await middle.post("fetch-todo", {"signature": seal({}, B), "stakingKey": public_key_of(A)}),
        "not staked": await middle.ask("fetch-todo", UNSTAKED, claimId="c" * 16),
        "no such lease": await middle.ask("heartbeat", A, swarmBountyId="x", leaseId="x", fencingToken="1"),
        "nothing": await middle.ask("fetch-todo", A, claimId="c" * 16),
        "too large": await middle.client.post("/summarizer/worker/fetch-todo", content=b" " * 40_000),
    }
    middle.chain.is_down = True
    answers["chain down"] = await middle.ask("fetch-todo", B, claimId="c" * 16)
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "not JSON": 400,
        "bad signature": 401,
        "not staked": 403,
        "no such lease": 404,
        "nothing": 409,
        "too large": 413,
        "chain down": 503,
    }
    for answer in answers.values():
        code(answer)
        assert answer.json()["success"] is False
        assert answer.json()["message"] == answer.json()["detail"]


async def test_koii_1_2_bug_5_no_secret_is_logged(middle: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Bodies, payloads and signatures were printed."""
    with caplog.at_level(logging.DEBUG):
        await middle.item(idempotency_key="my-order")
        body = signed(payload("fetch-todo", A, NOW, claimId="c" * 16, githubUsername="alice"), A)
        await middle.post("fetch-todo", body)
        await middle.post("fetch-todo", body | {"signature": body["signature"][:-1]})
    assert "POST" in caplog.text
    for secret in (body["signature"], body["signature"][:-1], middle.api_key, "alice", "my-order", "do it"):
        assert secret not in caplog.text


async def test_koii_1_2_bug_6_an_item_fails_however_many_attempts_it_had(middle: Room) -> None:
    """Five attempts exactly made it fail; six were forgotten."""
    for had in (3, 7):
        item = await middle.item()
        middle.sql("UPDATE middle.work_items SET attempts = %s WHERE id = %s", had - 1, item)
        held = await middle.fetch(node_key(had))
        await middle.ask("add-todo-status", held.key, **held.fields)
        assert await middle.status(item) == "failed"


async def test_koii_1_2_bug_7_a_round_is_settled_once_for_all_processes_and_restarts(database_url: str) -> None:
    """Processed rounds were remembered in memory only."""
    chain = FakeChain()
    async with room(database_url, chain) as first, room(database_url, chain) as second:
        item = await first.item()
        await first.in_review(A)
        chain.paid_out[7] = {public_key_of(A): -5}
        answers = await asyncio.gather(
            *(one.ask("update-audit-result", B, roundNumber=7) for one in (first, second, first, second))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
    async with room(database_url, chain) as restarted:
        held = await restarted.fetch(C)
        assert held.data["id"] == item
        await restarted.report(held, cid_of("second"))
        assert code(await restarted.ask("add-round-number", C, roundNumber=7, **held.fields)) == (409, "round_settled")
        chain.round = 8
        assert (await restarted.ask("add-round-number", C, roundNumber=8, **held.fields)).status_code == 200
        chain.paid_out[7] = {public_key_of(C): 5, public_key_of(A): 5}
        again = await restarted.ask("update-audit-result", B, roundNumber=7)
        assert again.json()["data"]["outcomes"] == {item: "reject"}
        assert await restarted.status(item) == "in_review", "a round that is over does not change"


# §1.4, §1.5


async def test_koii_1_5_only_a_list_that_was_paid_out_counts_and_zero_is_no_fault(middle: Room) -> None:
    item = await middle.item()
    await middle.in_review(A)
    middle.chain.paid_out[7] = {public_key_of(A): 0}
    await middle.ask("update-audit-result", B, roundNumber=7)
    assert await middle.status(item) == "unpaid"
    assert middle.sql("SELECT count(*) FROM middle.failures") == [(0,)]


# §1.6


async def test_koii_1_6_a_chain_that_fails_lets_nobody_in(middle: Room) -> None:
    """isValidStakingKey answered true when the RPC failed."""
    item = await middle.item()
    middle.chain.is_down = True
    answer = await middle.ask("fetch-todo", A, claimId="c" * 16)
    assert code(answer) == (503, "chain_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await middle.status(item) == "queued"
    middle.chain.is_down = False
    assert (await middle.fetch(A)).data["id"] == item


async def test_koii_1_6_a_chain_that_is_silent_lets_nobody_in(database_url: str) -> None:
    async with room(database_url, chain_seconds=0.05) as middle:
        await middle.item()
        middle.chain.is_silent = True
        assert code(await middle.ask("fetch-todo", A, claimId="c" * 16)) == (503, "chain_unavailable")


@pytest.mark.parametrize(
    ("stake", "reason"),
    [
        ({"amount": 0}, "not_staked"),
        ({"amount": 99}, "stake_too_low"),
        ({"amount": 100, "is_active": False}, "task_inactive"),
        ({"amount": 100, "is_migrated": True}, "task_migrated"),
    ],
)
async def test_koii_1_6_presence_in_the_list_is_not_enough(middle: Room, stake: dict[str, int], reason: str) -> None:
    await middle.item()
    middle.chain.put(public_key_of(A), **stake)  # type: ignore[arg-type]
    assert code(await middle.ask("fetch-todo", A, claimId="c" * 16)) == (403, reason)


async def test_koii_1_6_no_mode_switches_the_check_off(database_url: str) -> None:
    """In development every key was staked."""
    async with room(database_url, is_devnet=True, legacy_envelopes=True) as middle:
        await middle.item()
        assert code(await middle.ask("fetch-todo", UNSTAKED, claimId="c" * 16)) == (403, "not_staked")


async def test_koii_1_6_a_good_word_is_believed_for_a_bounded_time_and_a_bad_one_not_at_all(middle: Room) -> None:
    """The cache was a process-wide list; a mocked one in one of the servers."""
    for _ in range(4):
        await middle.item()
    middle.chain.put(public_key_of(A), 0)
    assert code(await middle.ask("fetch-todo", A, claimId="c" * 16)) == (403, "not_staked")
    middle.chain.put(public_key_of(A), 100)
    held = await middle.fetch(A)
    await middle.ask("add-todo-status", A, **held.fields)
    middle.chain.is_down = True
    middle.later(29)
    held = await middle.fetch(A)
    await middle.ask("add-todo-status", A, **held.fields)
    middle.later(2)
    assert code(await middle.ask("fetch-todo", A, claimId="d" * 16)) == (503, "chain_unavailable")


async def test_koii_1_6_one_key_is_asked_about_and_not_the_whole_task(middle: Room) -> None:
    await middle.item()
    held = await middle.fetch(A)
    await middle.ask("heartbeat", A, **held.fields)
    assert middle.chain.asked == [f"stake {TASK} {public_key_of(A)}"]
