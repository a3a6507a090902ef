"""From a claim to a signed verdict: what it says, when it is kept, and that it is said once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orca_agent.rounds.auditing import Auditing, AuditParts
from orca_agent.store.records import NodeRecords, Review
from orca_protocol.canonical import sha256_hex
from orca_protocol.dsse import open_envelope
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.verdict_statement import VerdictPredicate, open_verdict
from proof_store.base import MemoryBlocks
from proof_store.builder import root_of
from proof_store.cid import Cid
from proof_store.reader import read_directory
from tests.unit.audit.packages import PretendedWeights, decode
from tests.unit.orca_agent.rounds.claims import (
    GOOD,
    IDENTITY,
    ITEM,
    REQUIRED,
    ROUND,
    WORKER,
    Chain,
    Leases,
    QuietMiddle,
    Shelf,
    our_lease,
    package,
    result_of,
    settings,
)
from tests.unit.orca_agent.rounds.serving import identity

FILES = package()
CID = str(root_of(FILES))
CLAIM = (WORKER, CID)


class Scene:
    """An auditor."""

    def __init__(self, records: NodeRecords, files: dict[str, bytes] = FILES) -> None:
        self.records, self.middle, self.shelf, self.blocks = records, QuietMiddle(), Shelf(files), MemoryBlocks()
        self.chain, self.leases = Chain(GOOD), Leases(files)
        weights = PretendedWeights(IDENTITY, answer=lambda request: decode(request, IDENTITY))
        self.weights = weights

    def auditing(self) -> Auditing:
        parts = AuditParts(identity(), self.middle, self.records, self.shelf, self.chain, self.leases, self.weights, self.blocks)
        return Auditing(settings(), parts)

    async def review(self, claim: tuple[str, str] = CLAIM) -> tuple[Review, VerdictPredicate]:
        made = await self.auditing().review(ROUND, claim)
        verdict = open_verdict(made.document, identity().key)
        assert (verdict.cid, verdict.predicate.vote, verdict.predicate.reason) == (made.cid, made.vote, made.reason)
        return made, verdict.predicate


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with NodeRecords(database_url) as records:
        yield Scene(records)


async def test_a_sound_proof_is_approved_kept_and_published(scene: Scene) -> None:
    made, said = await scene.review()
    assert made.vote == "approve"
    assert (said.round, said.work_item, said.worker, said.auditor) == (ROUND, ITEM.id, WORKER, identity().key)
    assert said.required == REQUIRED
    assert open_verdict(made.document, identity().key).subject[0].digest.sha256 == sha256_hex(FILES["statement.dsse.json"])
    assert b'"PASSED"' in open_envelope(made.vsa or b"", identity().key, where="vsa")
    assert await scene.records.reviews_of(ROUND) == [made]
    assert scene.middle.said == [made.document]
    assert read_directory(Cid.parse(CID), scene.blocks) == FILES


async def test_a_proof_with_a_fault_is_rejected(scene: Scene) -> None:
    scene.leases = Leases(FILES, "4")
    made, said = await scene.review()
    assert (made.vote, made.reason) == ("reject", "eligibility: stale_token")
    assert b'"FAILED"' in open_envelope(made.vsa or b"", identity().key, where="vsa")
    assert said.required == REQUIRED


async def test_what_could_not_be_asked_makes_an_abstention_without_a_summary(scene: Scene) -> None:
    scene.chain = Chain(None)
    made, said = await scene.review()
    assert (made.vote, made.reason, made.vsa) == ("abstain", "eligibility: rpc_down", None)
    assert said.required == REQUIRED


async def test_a_package_that_never_came_is_an_abstention_on_what_the_middle_server_says_of_it(scene: Scene) -> None:
    scene.shelf.trees.clear()
    scene.middle.standing = [result_of(package(our_lease(price="2"))), result_of(FILES)]
    made, said = await scene.review()
    assert (made.vote, said.required, said.work_item) == ("abstain", REQUIRED, "asked")
    assert said.checks[0].code == "data_unavailable"
    assert open_verdict(made.document, identity().key).subject[0].digest.sha256 == Cid.parse(CID).digest.hex()
    assert scene.blocks.blocks == {}


@pytest.mark.parametrize(
    "error", [None, UnavailableError("middle_server_unavailable", "away"), InvalidError("round_unknown", "no")]
)
async def test_where_nobody_knows_what_is_required_nothing_is_and_the_item_is_unknown(
    scene: Scene, error: OrcaError | None
) -> None:
    scene.shelf.trees.clear()
    scene.middle.error = error
    made, said = await scene.review()
    assert (made.vote, said.required, said.work_item) == ("abstain", (), "unknown")


@pytest.mark.parametrize(
    ("error", "vote", "reason"),
    [
        (UnavailableError("data_unavailable", "nobody has it"), "abstain", "data_unavailable"),
        (InvalidError("gateway_wrong", "nonsense"), "abstain", "data_unavailable"),
        (LimitError("tree_oversize", "too much"), "reject", "package_oversize"),
    ],
)
async def test_what_a_gateway_did_wrong_is_no_fault_of_the_worker_and_what_the_tree_says_is(
    scene: Scene, error: OrcaError, vote: str, reason: str
) -> None:
    scene.shelf.errors[CID] = error
    scene.middle.standing = [result_of(FILES)]
    made, _ = await scene.review()
    assert made.vote == vote
    assert f"integrity: {reason}" in made.reason


async def test_a_package_that_is_not_sound_is_not_kept(scene: Scene) -> None:
    bad = FILES | {"smuggled.txt": b"x"}
    claim = (WORKER, scene.shelf.put(bad))
    made, _ = await scene.review(claim)
    assert made.vote == "reject"
    assert scene.blocks.blocks == {}


async def test_the_verdict_is_kept_before_anybody_hears_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[list[Review]] = []

    async def publish(verdict: bytes) -> None:
        kept.append(await scene.records.reviews_of(ROUND))

    monkeypatch.setattr(scene.middle, "publish", publish)
    made, _ = await scene.review()
    assert kept == [[made]]


async def test_after_a_restart_the_same_is_said_again(scene: Scene) -> None:
    first, _ = await scene.review()
    scene.leases, scene.shelf = Leases(FILES, "4"), Shelf()
    again, _ = await scene.review()
    assert again == first
    assert scene.middle.said == [first.document, first.document]
    assert scene.shelf.fetched == []


async def test_a_claim_that_is_asked_for_twice_at_once_is_audited_once(scene: Scene) -> None:
    auditing = scene.auditing()
    one, two = await asyncio.gather(auditing.review(ROUND, CLAIM), auditing.review(ROUND, CLAIM))
    assert one == two
    assert scene.shelf.fetched == [CID]


@pytest.mark.parametrize("error", [UnavailableError("middle_server_unavailable", "away"), InvalidError("verdict_differs", "no")])
async def test_a_verdict_that_is_not_taken_counts_all_the_same(scene: Scene, error: OrcaError) -> None:
    scene.middle.error = error
    made, _ = await scene.review()
    assert made.vote == "approve"
    assert await scene.records.reviews_of(ROUND) == [made]


async def test_a_copy_of_a_proof_is_another_claim_and_rejected(scene: Scene) -> None:
    made, said = await scene.review((identity(3).key, CID))
    assert (made.vote, said.worker) == ("reject", identity(3).key)
    assert "authenticity: " in made.reason
