"""Who is paid for a round, read from the chain's submissions, from packages and from folders of verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from audit.source import PackageLimits
from koii_chain.distribution import Distribution
from koii_chain.state import Submission, TaskState
from orca_agent.rounds.paying import Paying, Reading, outcomes_json
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.verdict_bundle import SignedVerdict, write_bundle
from proof_store.builder import root_of
from tests.unit.koii_chain.tasks import task
from tests.unit.orca_agent.rounds.claims import REQUIRED, ROUND, WORKER, Shelf, our_lease, package, settings, verdict
from tests.unit.orca_agent.rounds.serving import identity

FILES = package()
CID = str(root_of(FILES))
CLAIM = (WORKER, CID)
AUDITORS = [identity(number) for number in (2, 3, 4)]
PRICE = 1_000_000


def entry(value: str, number: int, slot: int = 600) -> Submission:
    return Submission(submission_value=value, slot=slot, round=number)


class Chain:
    """A round that the worker submitted for, and what the auditors said of it in the next."""

    def __init__(self) -> None:
        self.shelf = Shelf(FILES)
        self.claims: dict[str, Submission] = {WORKER: entry(CID, ROUND)}
        self.said: dict[str, Submission] = {}

    def say(self, auditor: Any, *documents: bytes, name: tuple[str, str] = CLAIM) -> None:
        """Put verdicts into the auditor's submission for the next round."""
        cid = self.shelf.put(write_bundle(SignedVerdict(*name, document, None) for document in documents))
        self.said[auditor.key] = entry(f"verdicts:{cid}", ROUND + 1)

    def approve(self, *auditors: Any) -> Chain:
        for auditor in auditors:
            self.say(auditor, verdict(auditor.staking, FILES))
        return self

    @property
    def task(self) -> TaskState:
        keys = [WORKER, *(auditor.key for auditor in AUDITORS)]
        return task(
            stake_list=dict.fromkeys(keys, 1000),
            submissions={ROUND: self.claims, ROUND + 1: self.said},
            bounty_amount_per_round=10 * PRICE,
            total_bounty_amount=10 * PRICE,
        )

    async def paid(self, **changed: Any) -> tuple[Distribution, Reading]:
        return await Paying(settings(**changed), self.shelf).distribution(self.task, ROUND)


async def test_two_approvals_pay_the_leases_price() -> None:
    found, reading = await Chain().approve(*AUDITORS[:2]).paid()
    assert (found.amounts, found.outcomes) == ({WORKER: PRICE}, {CLAIM: "paid"})
    assert reading.missing == []


async def test_one_approval_does_not() -> None:
    found, _ = await Chain().approve(AUDITORS[0]).paid()
    assert (found.amounts, found.outcomes) == ({}, {CLAIM: "too_few_approvals"})


@pytest.mark.parametrize(
    "say",
    [
        lambda auditor: verdict(auditor.staking, FILES, round=ROUND + 1),
        lambda auditor: verdict(auditor.staking, FILES, network="devnet-2"),
        lambda auditor: verdict(auditor.staking, FILES, task_id="another"),
        lambda auditor: verdict(auditor.staking, FILES, work_item="another"),
        lambda auditor: verdict(auditor.staking, FILES, required=("integrity",)),
        lambda auditor: verdict(auditor.staking, FILES, required=(*REQUIRED, "inference")),
        lambda auditor: verdict(AUDITORS[2].staking, FILES),
        lambda auditor: verdict(auditor.staking, FILES).replace(b"payload", b"payleod"),
        lambda auditor: verdict(auditor.staking, FILES, worker=AUDITORS[2].key),
        lambda auditor: verdict(auditor.staking, package(our_lease(price="2"))),
        lambda auditor: verdict(auditor.staking, FILES, says="not_measured"),
        lambda auditor: b"nonsense",
    ],
    ids=[
        "another round",
        "another network",
        "another task",
        "another item",
        "fewer checks",
        "more checks",
        "another's signature",
        "forged",
        "another worker",
        "another proof",
        "an abstention",
        "nonsense",
    ],
)
async def test_a_verdict_of_another_kind_is_no_approval(say: Callable[[Any], bytes]) -> None:
    chain = Chain().approve(AUDITORS[0])
    chain.say(AUDITORS[1], say(AUDITORS[1]))
    found, reading = await chain.paid()
    assert found.outcomes == {CLAIM: "too_few_approvals"}
    assert reading.missing == []


async def test_a_wrong_verdict_takes_nothing_from_a_right_one_beside_it() -> None:
    chain = Chain().approve(AUDITORS[0])
    files = write_bundle([SignedVerdict(*CLAIM, verdict(AUDITORS[1].staking, FILES), None)])
    cid = chain.shelf.put(files | {f"{WORKER}-x.verdict.dsse.json": b"nonsense"})
    chain.said[AUDITORS[1].key] = entry(f"verdicts:{cid}", ROUND + 1)
    assert (await chain.paid())[0].outcomes == {CLAIM: "paid"}


@pytest.mark.parametrize("value", ["nonsense", "idle:no_work", CID])
async def test_a_submission_without_verdicts_says_nothing(value: str) -> None:
    chain = Chain().approve(AUDITORS[0])
    chain.said[AUDITORS[1].key] = entry(value, ROUND + 1)
    found, reading = await chain.paid()
    assert (found.outcomes, reading.missing) == ({CLAIM: "too_few_approvals"}, [])


@pytest.mark.parametrize(
    "files",
    [
        package(our_lease(network="elsewhere")),
        package(our_lease(task_id="another")),
        package(round=ROUND + 1),
        FILES | {"smuggled.txt": b"x"},
    ],
    ids=["another network", "another task", "another round", "not sound"],
)
async def test_a_claim_that_is_not_authentic_is_paid_nothing_and_hides_nothing(files: dict[str, bytes]) -> None:
    chain = Chain().approve(*AUDITORS[:2])
    chain.claims[WORKER] = entry(f"{CID} {chain.shelf.put(files)}", ROUND)
    found, reading = await chain.paid()
    assert (found.amounts, found.outcomes, reading.missing) == ({WORKER: PRICE}, {CLAIM: "paid"}, [])


async def test_a_lease_of_another_middle_server_pays_nothing() -> None:
    found, _ = await Chain().approve(*AUDITORS).paid(lease_signer=identity(8).key)
    assert found.amounts == {}


async def test_a_copied_proof_pays_its_worker_only() -> None:
    chain = Chain().approve(*AUDITORS[:2])
    chain.claims[AUDITORS[2].key] = entry(CID, ROUND, slot=599)
    assert (await chain.paid())[0].amounts == {WORKER: PRICE}


async def test_what_did_not_come_is_named() -> None:
    chain = Chain().approve(*AUDITORS)
    lost = chain.said[AUDITORS[2].key].submission_value.removeprefix("verdicts:")
    chain.shelf.errors = {
        CID: UnavailableError("data_unavailable", "nobody has the proof"),
        lost: UnavailableError("data_unavailable", "nobody has the verdicts"),
    }
    found, reading = await chain.paid()
    assert found.amounts == {}
    assert reading.missing == [
        f"{CID} of {WORKER}: nobody has the proof",
        f"verdicts of {AUDITORS[2].key}: nobody has the verdicts",
    ]


@pytest.mark.parametrize("error", [InvalidError("dag_pb", "nonsense"), LimitError("tree_oversize", "too much")])
async def test_what_is_wrong_for_everybody_counts_for_nothing_and_is_not_missing(error: OrcaError) -> None:
    chain = Chain().approve(*AUDITORS)
    chain.shelf.errors = {CID: error}
    found, reading = await chain.paid()
    assert (found.amounts, reading.missing) == ({}, [])


async def test_what_this_node_alone_was_told_not_to_read_is_missing() -> None:
    chain = Chain().approve(*AUDITORS)
    lost = chain.said[AUDITORS[2].key].submission_value.removeprefix("verdicts:")
    chain.shelf.errors = {CID: LimitError("tree_oversize", "too much"), lost: LimitError("tree_oversize", "too much")}
    _, reading = await chain.paid(limits=PackageLimits(files=999))
    assert [one.partition(":")[0] for one in reading.missing] == [f"{CID} of {WORKER}", f"verdicts of {AUDITORS[2].key}"]


async def test_a_package_beyond_this_nodes_own_limits_is_missing_with_the_reason() -> None:
    _, reading = await Chain().approve(*AUDITORS).paid(limits=PackageLimits(total_bytes=2048))
    assert len(reading.missing) >= 1
    assert "more than this auditor was set to read" in reading.missing[0]


async def test_the_order_in_which_the_chain_tells_makes_no_difference() -> None:
    one, two = Chain().approve(*AUDITORS), Chain().approve(*reversed(AUDITORS))
    second = package(our_lease(lease_id="lease-2", price="7"))
    for chain in (one, two):
        chain.claims[WORKER] = entry(f"{CID} {chain.shelf.put(second)}", ROUND)
    two.said = dict(reversed(two.said.items()))
    (first, read), (again, reread) = await one.paid(), await two.paid()
    assert first == again
    assert outcomes_json(first, read, WORKER) == outcomes_json(again, reread, WORKER)


async def test_it_is_told_what_became_of_each_claim_and_why() -> None:
    found, reading = await Chain().approve(*AUDITORS[:2]).paid()
    told = json.loads(outcomes_json(found, reading, WORKER))
    approvals = sorted(auditor.key for auditor in AUDITORS[:2])
    row = {"worker": WORKER, "cid": CID, "outcome": "paid", "price": str(PRICE), "approvals": approvals, "own": True}
    assert told == {"claims": [row], "missing": []}
    assert json.loads(outcomes_json(found, reading, "another"))["claims"][0]["own"] is False
