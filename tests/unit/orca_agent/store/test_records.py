"""What a node must know after a crash, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from orca_agent.store.records import NodeRecords, Review, State
from orca_protocol.errors import UnavailableError

REVIEW = Review(5, "worker", "cid", "approve", "valid: replay", b"document", b"vsa")


@pytest.fixture
async def records(database_url: str) -> AsyncIterator[NodeRecords]:
    async with NodeRecords(database_url) as made:
        yield made


async def taken(records: NodeRecords, claim: str, state: State, number: int | None = None, cid: str | None = None) -> None:
    await records.move(await records.begin_claim(claim), state, todo="{}", round=number, cid=cid)


async def test_an_assignment_keeps_what_is_known_of_it(records: NodeRecords, database_url: str) -> None:
    claim = await records.begin_claim("c")
    leased = await records.move(claim, "leased", todo='{"id":"w"}')
    await records.move(leased, "leased", run_id="r")
    proved = await records.move(leased, "proved", round=5, cid="b")
    assert (proved.todo, proved.run_id, proved.round, proved.cid, proved.ending) == ('{"id":"w"}', "r", 5, "b", None)
    async with NodeRecords(database_url) as again:
        assert await again.open_assignments() == [proved]


@pytest.mark.parametrize(
    ("state", "is_open"),
    [("claiming", True), ("leased", True), ("proved", True), ("reported", True), ("entered", False), ("closed", False)],
)
async def test_what_is_not_over_is_still_to_be_worked_on(records: NodeRecords, state: State, is_open: bool) -> None:
    await taken(records, "c", state)
    assert [one.claim_id for one in await records.open_assignments()] == (["c"] if is_open else [])


async def test_the_oldest_is_worked_on_first_and_the_newest_shown_first(records: NodeRecords) -> None:
    for claim in ("b", "a", "c"):
        await records.begin_claim(claim)
    assert [one.claim_id for one in await records.open_assignments()] == ["b", "a", "c"]
    assert [one.claim_id for one in await records.recent_assignments(2)] == ["c", "a"]


async def test_only_a_claim_that_got_nothing_is_forgotten(records: NodeRecords) -> None:
    await records.begin_claim("nothing")
    await taken(records, "leased", "leased")
    for claim in ("nothing", "leased", "unknown"):
        await records.forget_claim(claim)
    assert [one.claim_id for one in await records.recent_assignments()] == ["leased"]


async def test_the_same_claim_is_not_begun_twice(records: NodeRecords) -> None:
    claim = await records.begin_claim("c")
    with pytest.raises(UnavailableError, match="records_unavailable"):
        await records.begin_claim("c")
    with pytest.raises(RuntimeError, match="not kept"):
        await records.move(replace(claim, claim_id="another"), "leased")


async def test_a_round_has_the_proofs_that_were_reported_in_the_order_they_were_taken(records: NodeRecords) -> None:
    await taken(records, "1", "entered", 5, "one")
    await taken(records, "2", "proved", 5, "not reported")
    await taken(records, "3", "closed", 5, "lost")
    await taken(records, "4", "reported", 5, "four")
    await taken(records, "5", "entered", 6, "of another round")
    assert [one.cid for one in await records.assignments_of(5)] == ["one", "four"]


async def test_an_auditor_speaks_once(records: NodeRecords) -> None:
    await records.keep_review(REVIEW)
    await records.keep_review(replace(REVIEW, vote="reject", document=b"another"))
    assert await records.reviews_of(5) == [REVIEW]
    assert await records.reviews_of(6) == []


async def test_verdicts_come_in_one_order_whoever_was_first(records: NodeRecords) -> None:
    made = [replace(REVIEW, worker=worker, cid=cid) for worker in ("a", "b") for cid in ("x", "y")]
    for review in reversed(made):
        await records.keep_review(review)
    abstention = replace(REVIEW, cid="z", vote="abstain", vsa=None)
    await records.keep_review(abstention)
    assert await records.reviews_of(5) == [*made, abstention]


async def test_what_is_known_of_a_round_adds_up(records: NodeRecords) -> None:
    assert not await records.has_outcomes(5)
    await records.keep_submission(5, "idle:no_work")
    assert not await records.has_outcomes(5)
    await records.keep_outcomes(5, "{}")
    assert await records.has_outcomes(5)
    assert await records.settled_rounds() == set()
    await records.keep_settled(5)
    await records.keep_outcomes(5, '{"claims":[]}')
    await records.keep_settled(7)
    assert await records.settled_rounds() == {5, 7}
    assert await records.recent_rounds() == [
        {"round": 7, "submitted": None, "settled": True, "outcomes": None},
        {"round": 5, "submitted": "idle:no_work", "settled": True, "outcomes": '{"claims":[]}'},
    ]
    assert len(await records.recent_rounds(1)) == 1


async def test_a_database_that_cannot_be_used_is_unavailable(database_url: str) -> None:
    async with NodeRecords(database_url) as records:
        pass
    with pytest.raises(UnavailableError, match="records_unavailable"):
        await records.settled_rounds()
