"""Asking again: a lost answer comes again, a changed request does not pass, and none of it depends on a process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nacl.signing import SigningKey

from orca.middle_service import revoke
from orca_protocol.keys import public_key_of
from tests.fakes.chain import FakeChain
from tests.integration.middle_server.room import NOW, REQUESTER, Room, cid_of, code, issue, node_key, payload, room, signed, verdict

A, B, C = node_key(1), node_key(2), node_key(3)


async def test_the_same_bytes_get_the_stored_answer_also_after_a_restart_and_without_the_chain(database_url: str) -> None:
    chain = FakeChain()
    async with room(database_url, chain) as middle:
        await middle.item()
        body = signed(payload("fetch-todo", A, NOW, claimId="c" * 16), A)
        first = await middle.post("fetch-todo", body)
        again = await middle.post("fetch-todo", body)
    chain.is_down = True
    async with room(database_url, chain) as restarted:
        third = await restarted.post("fetch-todo", body)
    assert first.status_code == 200
    assert first.content == again.content == third.content


async def test_other_bytes_under_the_same_nonce_are_409(middle: Room) -> None:
    await middle.item()
    nonce = "0" * 32
    assert (await middle.ask("fetch-todo", A, claimId="c" * 16, nonce=nonce)).status_code == 200
    assert code(await middle.ask("fetch-todo", A, claimId="d" * 16, nonce=nonce)) == (409, "request_reused")
    assert code(await middle.ask("fetch-todo", B, claimId="c" * 16, nonce=nonce)) == (409, "nothing_available")


async def test_a_refusal_is_kept_so_that_its_catcher_gets_nothing(middle: Room) -> None:
    body = signed(payload("fetch-todo", A, NOW, claimId="c" * 16), A)
    assert code(await middle.post("fetch-todo", body)) == (409, "nothing_available")
    await middle.item()
    assert code(await middle.post("fetch-todo", body)) == (409, "nothing_available")
    assert (await middle.ask("fetch-todo", A, claimId="c" * 16)).status_code == 200


async def test_a_503_is_not_kept(middle: Room) -> None:
    await middle.item()
    body = signed(payload("fetch-todo", A, NOW, claimId="c" * 16), A)
    middle.chain.is_down = True
    assert (await middle.post("fetch-todo", body)).status_code == 503
    middle.chain.is_down = False
    assert (await middle.post("fetch-todo", body)).status_code == 200


async def test_the_same_claim_gets_the_same_lease_under_another_nonce(middle: Room) -> None:
    await middle.item()
    first, again = await middle.fetch(A, "c" * 16), await middle.fetch(A, "c" * 16)
    assert first.data == again.data
    await middle.ask("add-todo-status", A, **first.fields)
    assert code(await middle.ask("fetch-todo", A, claimId="c" * 16)) == (410, "lease_ended")


async def test_one_key_is_remembered_so_many_times_and_no_more(database_url: str) -> None:
    async with room(database_url, requests_per_key=3) as middle:
        for _ in range(3):
            assert (await middle.ask("heartbeat", A)).status_code == 200
        limited = await middle.ask("heartbeat", A)
        assert code(limited) == (429, "too_many_requests")
        assert int(limited.headers["retry-after"]) >= 1
        assert (await middle.ask("heartbeat", B)).status_code == 200
        middle.later(70)
        assert (await middle.ask("heartbeat", A)).status_code == 200


async def test_results_are_stored_once(middle: Room) -> None:
    await middle.item()
    held = await middle.fetch(A)
    answers = await asyncio.gather(*(middle.report(held, cid_of(text)) for text in ("one", "two", "one", "two")))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 409, 409]
    assert len(middle.sql("SELECT cid FROM middle.results")) == 1
    assert {code(answer)[1] for answer in answers if answer.status_code == 409} == {"result_differs"}


@pytest.mark.parametrize("url", ["https://github.com/x/y/pull/1", "", "Qm", "ipfs://"])
async def test_what_is_no_proof_is_no_result(middle: Room, url: str) -> None:
    await middle.item()
    held = await middle.fetch(A)
    assert code(await middle.report(held, url))[0] == 400


async def test_a_result_goes_into_the_round_that_is_taken_now(middle: Room) -> None:
    await middle.item()
    held = await middle.fetch(A)
    early = await middle.ask("add-round-number", A, roundNumber=7, **held.fields)
    assert code(early) == (410, "lease_ended")
    await middle.report(held, cid_of("p"))
    for wrong in (5, 8, 99):
        assert code(await middle.ask("add-round-number", A, roundNumber=wrong, **held.fields)) == (409, "round_wrong")
    assert (await middle.ask("add-round-number", A, roundNumber=6, **held.fields)).status_code == 200
    assert (await middle.ask("add-round-number", A, roundNumber=6, **held.fields)).status_code == 200
    assert code(await middle.ask("add-round-number", A, roundNumber=7, **held.fields)) == (409, "round_differs")


async def test_a_result_that_never_reaches_a_round_is_taken_back(middle: Room) -> None:
    item = await middle.item()
    held = await middle.fetch(A)
    await middle.report(held, cid_of("p"))
    middle.later(3601)
    successor = await middle.fetch(B)
    assert successor.data["id"] == item
    assert code(await middle.ask("add-round-number", A, roundNumber=7, **held.fields)) == (409, "fencing_token_stale")
    assert middle.sql("SELECT outcome FROM middle.results") == [("expire",)]


async def test_a_cancelled_item_is_taken_from_its_holder(middle: Room) -> None:
    item = await middle.item()
    held = await middle.fetch(A)
    for _ in range(2):
        answer = await middle.client.post(f"/v1/work-items/{item}/cancel", headers=middle.person)
        assert answer.json()["status"] == "cancelled"
    assert code(await middle.ask("heartbeat", A, **held.fields)) == (410, "lease_ended")
    assert code(await middle.report(held, cid_of("p"))) == (410, "lease_ended")


async def test_a_reported_item_is_not_cancelled(middle: Room) -> None:
    item = await middle.item()
    await middle.in_review(A)
    answer = await middle.client.post(f"/v1/work-items/{item}/cancel", headers=middle.person)
    assert code(answer) == (409, "transition_illegal")


# people


async def test_nobody_posts_or_reads_without_a_key_or_with_anothers(middle: Room, database_url: str) -> None:
    item = await middle.item()
    other = await issue(database_url, public_key_of(SigningKey(b"q" * 32)))
    for path in ("", f"/{item}", f"/{item}/result"):
        nameless = await middle.client.get(f"/v1/work-items{path}")
        assert code(nameless) == (401, "credentials_missing")
        assert "www-authenticate" in nameless.headers
    unknown = await middle.client.get(f"/v1/work-items/{item}", headers={"authorization": "Bearer nobody"})
    assert code(unknown) == (401, "credentials_unknown")
    for path in (f"/{item}", f"/{item}/result", "/nothing"):
        foreign = await middle.client.get(f"/v1/work-items{path}", headers={"authorization": f"bearer {other}"})
        assert code(foreign) == (404, "work_item_unknown")
    foreign = await middle.client.post(f"/v1/work-items/{item}/cancel", headers={"x-api-key": other})
    assert code(foreign) == (404, "work_item_unknown")
    assert (await middle.client.get("/v1/work-items", headers={"x-api-key": other})).json()["work_items"] == []


async def test_keys_are_kept_by_their_digest_and_end_at_once(middle: Room) -> None:
    await middle.item()
    assert middle.api_key not in str(middle.sql("SELECT * FROM middle.api_keys"))
    assert await revoke(middle.settings.database_url, REQUESTER, "another name") == 0
    assert (await middle.create()).status_code == 201
    assert await revoke(middle.settings.database_url, REQUESTER, "test") == 1
    assert code(await middle.create()) == (401, "credentials_unknown")
    assert await revoke(middle.settings.database_url, REQUESTER, "test") == 0, "it is over already"


async def test_people_list_what_they_posted_page_by_page(middle: Room) -> None:
    items = [await middle.item() for _ in range(3)]
    await middle.fetch(A)
    listed = (await middle.client.get("/v1/work-items?status=queued", headers=middle.person)).json()
    assert [item["id"] for item in listed["work_items"]] == items[1:]
    assert listed["after"] is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"price": "0"}, (400, "price_impossible")),
        ({"price": str(2**64)}, (400, "price_impossible")),
        ({"price": "-1"}, (400, "schema")),
        ({"price": "1.5"}, (400, "schema")),
        ({"price": 5}, (400, "schema")),
        ({"visibility": "sealed"}, (400, "schema")),
        ({"visibility": None}, (400, "schema")),
        ({"models": []}, (400, "schema")),
        ({"models": [{"name": "m"}, {"name": "m"}]}, (400, "models_twice")),
        ({"required_checks": []}, (400, "schema")),
        ({"required_checks": ["luck"]}, (400, "schema")),
        ({"required_checks": ["outcome"]}, (400, "checks_impossible")),
        ({"models": [{"name": "gpt-4o"}], "required_checks": ["inference"]}, (400, "checks_impossible")),
        ({"task_id": None}, (403, "task_foreign")),
        ({"task_id": "task-9"}, (403, "task_foreign")),
        ({"spec": {"task": "t", "agents": []}}, (400, "no_agents")),
        ({"spec": {"task": "t", "agents": [{"agent_name": "A", "model_name": "m", "surprise": 1}]}}, (400, "schema")),
        ({"spec": '{"task":"t","task":"u","agents":[]}'}, (400, "json_duplicate_key")),
        (
            {"spec": {"task": "t", "agents": [{"agent_name": "A", "model_name": "m"}], "swarm_type": "GroupChat"}},
            (400, "agents_too_few"),
        ),
        ({"surprise": 1}, (400, "schema")),
    ],
)
async def test_what_could_never_be_run_checked_or_paid_is_refused_at_once(
    middle: Room, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert code(await middle.create(**changed)) == expected
    assert middle.sql("SELECT count(*) FROM middle.work_items") == [(0,)]


async def test_a_requester_has_so_many_unfinished_items_and_no_more(database_url: str) -> None:
    async with room(database_url, items_per_requester=2) as middle:
        first = await middle.item()
        await middle.item()
        assert code(await middle.create()) == (429, "too_many_items")
        await middle.client.post(f"/v1/work-items/{first}/cancel", headers=middle.person)
        await middle.item()


# verdicts


async def test_an_auditor_speaks_once_of_work_that_is_not_its_own(middle: Room) -> None:
    await middle.item()
    held = await middle.in_review(A)
    cid = cid_of("proof")

    async def say(document: bytes) -> Any:
        return await middle.client.post("/v1/verdicts", content=document)

    good = verdict(B, held, cid, round_number=7)
    assert (await say(good)).status_code == 201
    assert (await say(good)).status_code == 200
    assert code(await say(verdict(B, held, cid, round_number=7, says="mismatch"))) == (409, "verdict_differs")
    assert code(await say(verdict(A, held, cid, round_number=7))) == (403, "own_work")
    assert code(await say(verdict(node_key(99), held, cid, round_number=7))) == (403, "not_staked")
    assert code(await say(verdict(C, held, cid_of("other"), round_number=7))) == (400, "verdict_foreign")
    assert code(await say(verdict(C, held, cid, round_number=6))) == (400, "verdict_foreign")
    assert code(await say(verdict(C, held, cid, round_number=7, network="mainnet"))) == (400, "verdict_foreign")
    assert code(await say(verdict(C, held, cid, round_number=7, required=["replay"]))) == (400, "verdict_foreign")
    assert code(await say(good.replace(b'"sig":"', b'"sig":"A')))[0] in {400, 401}
    forged = good.replace(public_key_of(B).encode(), public_key_of(C).encode())
    assert code(await say(forged)) == (401, "signature")
    middle.chain.is_down = True
    middle.later(31)
    assert code(await say(verdict(C, held, cid, round_number=7))) == (503, "chain_unavailable")
    listed = (await middle.client.get(f"/v1/verdicts?auditor={public_key_of(B)}")).json()["verdicts"]
    assert [one["vote"] for one in listed] == ["approve"]
    assert REQUESTER not in str(listed)
