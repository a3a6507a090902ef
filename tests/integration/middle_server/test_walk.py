"""One work item from its post to its end, and what each side sees on the way."""

from __future__ import annotations

import base64
import json

from orca_engine import REVISION
from orca_protocol.canonical import sha256_hex
from orca_protocol.keys import public_key_of
from orca_protocol.verdict_statement import open_verdict
from tests.integration.middle_server.room import REQUESTER, SPEC, Room, cid_of, code, node_key, verdict

WORKER, FIRST, SECOND = node_key(1), node_key(2), node_key(3)
TEXT = '{"task":"do it",  "agents":[{"agent_name":"A","model_name":"m"}]}'


async def test_an_item_goes_from_post_to_payment(middle: Room) -> None:
    item = await middle.item(spec=TEXT)
    assert await middle.status(item) == "queued"

    held = await middle.fetch(WORKER, pubKey=public_key_of(node_key(9)), githubUsername="someone")
    lease = held.lease
    assert (lease.work_item, lease.price, lease.worker) == (item, "1500000", public_key_of(WORKER))
    assert (lease.requester, lease.payout, lease.engine_revision) == (REQUESTER, public_key_of(node_key(9)), REVISION)
    assert lease.spec_sha256 == sha256_hex(TEXT.encode())
    assert held.data["spec"] == TEXT, "the exact bytes that were posted"
    assert await middle.status(item) == "leased"
    missing = await middle.client.get(f"/v1/work-items/{item}/result", headers=middle.person)
    assert code(missing) == (404, "result_absent")

    beat = await middle.ask("heartbeat", WORKER, gateway="http://127.0.0.1:8080", **held.fields)
    assert beat.json()["data"]["leaseId"] == lease.lease_id

    cid = cid_of("proof")
    reported = await middle.report(held, f"ipfs://{cid}")
    assert reported.json() == {"success": True, "message": "PR URL updated", "swarmBountyId": item}
    entered = await middle.ask("add-round-number", WORKER, roundNumber=7, **held.fields)
    assert entered.json() == {"success": True, "message": "Round number added", "swarmBountyId": item, "roundNumber": 7}
    assert await middle.status(item) == "in_review"

    found = await middle.ask("check-todo", FIRST, pubKey=public_key_of(WORKER), roundNumber=7, prUrl=cid, githubUsername="someone")
    assert found.json()["message"] == "Todo assignment verified successfully"
    assert found.json()["data"]["fencingToken"] == "1"
    for auditor in (FIRST, SECOND):
        document = verdict(auditor, held, cid, round_number=7)
        assert (await middle.client.post("/v1/verdicts", content=document)).status_code == 201

    round_ = (await middle.client.get("/v1/rounds/7?task_id=task-1")).json()
    assert round_["settled"] is None
    assert [(one["work_item"], one["cid"], one["verdicts"]["approve"]) for one in round_["results"]] == [(item, cid, 2)]

    middle.chain.paid_out[7] = {public_key_of(WORKER): 1_500_000}
    settled = await middle.ask("update-audit-result", FIRST, roundNumber=7)
    assert settled.json()["data"]["outcomes"] == {item: "approve"}
    assert await middle.status(item) == "done"
    result = (await middle.client.get(f"/v1/work-items/{item}/result", headers=middle.person)).json()
    assert (result["cid"], result["outcome"], result["worker"], result["round"]) == (cid, "approve", public_key_of(WORKER), 7)

    nodes = (await middle.client.get("/v1/nodes?task_id=task-1")).json()["nodes"]
    assert [(node["staking_key"], node["gateway"], node["leases"]) for node in nodes] == [
        (public_key_of(WORKER), "http://127.0.0.1:8080", 0)
    ]
    kept = (await middle.client.get(f"/v1/verdicts?work_item={item}")).json()["verdicts"]
    opened = [open_verdict(base64.b64decode(one["document"]), one["auditor"]) for one in kept]
    assert {one.predicate.vote for one in opened} == {"approve"}


async def test_a_spec_that_is_an_object_is_kept_in_canonical_form(middle: Room) -> None:
    await middle.item(spec=SPEC)
    held = await middle.fetch(WORKER)
    assert held.data["spec"] == json.dumps(SPEC, separators=(",", ":"), sort_keys=True)
    assert held.lease.spec_sha256 == sha256_hex(held.data["spec"].encode())


async def test_items_are_handed_out_in_the_order_they_came(middle: Room) -> None:
    items = [await middle.item() for _ in range(3)]
    got = [(await middle.fetch(node_key(number))).data["id"] for number in (3, 1, 2)]
    assert got == items


async def test_a_rejected_result_sends_the_item_to_another_key(middle: Room) -> None:
    item = await middle.item()
    held = await middle.in_review(WORKER)
    document = verdict(FIRST, held, cid_of("proof"), round_number=7, says="mismatch")
    assert (await middle.client.post("/v1/verdicts", content=document)).status_code == 201
    middle.chain.paid_out[7] = {public_key_of(WORKER): -10}
    await middle.ask("update-audit-result", FIRST, roundNumber=7)
    assert await middle.status(item) == "queued"
    assert code(await middle.ask("fetch-todo", WORKER, claimId="c" * 16)) == (409, "nothing_available")
    assert (await middle.fetch(SECOND)).data["fencingToken"] == "2"


async def test_what_nobody_could_measure_is_neither_paid_nor_cut(middle: Room) -> None:
    item = await middle.item()
    await middle.in_review(WORKER)
    middle.chain.paid_out[7] = {public_key_of(SECOND): 5}
    await middle.ask("update-audit-result", FIRST, roundNumber=7)
    assert await middle.status(item) == "unpaid"
    result = (await middle.client.get(f"/v1/work-items/{item}/result", headers=middle.person)).json()
    assert result["outcome"] == "leave_unpaid"


async def test_an_item_that_auditors_rejected_goes_on_although_its_round_paid_nobody(middle: Room) -> None:
    item = await middle.item()
    held = await middle.in_review(WORKER)
    for auditor in (FIRST, SECOND):
        document = verdict(auditor, held, cid_of("proof"), round_number=7, says="mismatch")
        assert (await middle.client.post("/v1/verdicts", content=document)).status_code == 201
    middle.chain.paid_out[7] = {}
    settled = await middle.ask("update-audit-result", FIRST, roundNumber=7)
    assert settled.json()["data"]["outcomes"] == {item: "reject"}
    assert await middle.status(item) == "queued"


async def test_a_verdict_about_another_worker_is_not_about_this_result(middle: Room) -> None:
    await middle.item()
    held = await middle.in_review(WORKER)
    document = verdict(FIRST, held, cid_of("proof"), round_number=7, worker=public_key_of(SECOND))
    assert code(await middle.client.post("/v1/verdicts", content=document)) == (400, "verdict_foreign")


async def test_anybody_can_see_which_lease_of_an_item_counts(middle: Room) -> None:
    item = await middle.item()
    await middle.fetch(WORKER)
    found = (await middle.client.get(f"/v1/leases/{item}")).json()
    assert found == {"work_item": item, "task_id": "task-1", "status": "leased", "fencing_token": "1"}
    item = await middle.item()
    await middle.in_review(SECOND)
    found = (await middle.client.get(f"/v1/leases/{item}")).json()
    assert (found["worker"], found["cid"], found["round"]) == (public_key_of(SECOND), cid_of("proof"), 7)
    assert code(await middle.client.get("/v1/leases/not-an-id")) == (404, "work_item_unknown")
    assert code(await middle.client.get(f"/v1/leases/{'0' * 36}")) == (404, "work_item_unknown")
