"""What goes on chain for a round, in each of its forms, and the same after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orca_agent.rounds.submitting import Submitting
from orca_agent.store.records import NodeRecords, Review
from orca_protocol.round_value import PROOFS_MAX, read_round_value
from orca_protocol.verdict_bundle import read_bundle
from proof_store.base import MemoryBlocks
from proof_store.builder import root_of
from proof_store.cid import Cid
from proof_store.reader import read_directory
from tests.integration.middle_server.room import cid_of
from tests.unit.orca_agent.rounds.claims import ROUND, package, verdict
from tests.unit.orca_agent.rounds.serving import identity

FILES = package()


class Scene:
    def __init__(self, records: NodeRecords) -> None:
        self.records, self.blocks, self.turn = records, MemoryBlocks(), asyncio.Lock()
        self.idle = "nothing_available: there is no work"

    def submitting(self) -> Submitting:
        return Submitting(self.records, self.blocks, lambda: self.idle, self.turn)

    async def proof(self, name: str, number: int = ROUND + 1) -> str:
        cid = cid_of(name)
        await self.records.move(await self.records.begin_claim(name), "reported", todo="{}", round=number, cid=cid)
        return cid

    async def review(self, name: str, number: int = ROUND) -> bytes:
        document = verdict(identity().staking, FILES, worker=identity(int(name)).key)
        cid = str(root_of(FILES))
        await self.records.keep_review(Review(number, identity(int(name)).key, cid, "approve", "valid", document, b"{}"))
        return document


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with NodeRecords(database_url) as records:
        yield Scene(records)


async def test_proofs_stand_in_the_order_they_were_taken(scene: Scene) -> None:
    cids = [await scene.proof(name) for name in ("b", "a")]
    await scene.proof("of another round", ROUND)
    assert await scene.submitting().value_for(ROUND + 1) == " ".join(cids)


async def test_verdicts_on_the_round_before_stand_as_one_folder_that_is_kept(scene: Scene) -> None:
    documents = [await scene.review(name) for name in ("3", "2")]
    await scene.review("4", ROUND - 1)
    value = read_round_value(await scene.submitting().value_for(ROUND + 1))
    assert (value.proofs, value.idle) == ((), None)
    said = read_bundle(read_directory(Cid.parse(str(value.verdicts)), scene.blocks), identity().key)
    assert len(said) == len(documents)
    assert {one.predicate.worker for one in said} == {identity(2).key, identity(3).key}


async def test_proofs_and_verdicts_stand_together(scene: Scene) -> None:
    cid = await scene.proof("one")
    await scene.review("2")
    value = await scene.submitting().value_for(ROUND + 1)
    assert value.startswith(f"{cid} verdicts:b")


@pytest.mark.parametrize(
    ("why", "code"),
    [("nothing_available: no work", "nothing_available"), ("starting", "starting"), ("Something Else", "no_work"), ("", "no_work")],
)
async def test_where_there_is_neither_it_is_said_why(scene: Scene, why: str, code: str) -> None:
    scene.idle = why
    assert await scene.submitting().value_for(ROUND + 1) == f"idle:{code}"


async def test_what_was_given_out_is_given_out_again_after_a_restart_and_whatever_comes_later(scene: Scene) -> None:
    await scene.proof("one")
    for name in ("3", "2"):
        await scene.review(name)
    first = await scene.submitting().value_for(ROUND + 1)
    await scene.proof("two")
    await scene.review("4")
    assert await scene.submitting().value_for(ROUND + 1) == first
    assert await scene.records.submission_of(ROUND + 1) == first
    assert await scene.records.submission_of(ROUND) is None


async def test_as_many_proofs_stand_there_as_fit_beside_the_verdicts(scene: Scene) -> None:
    for number in range(PROOFS_MAX + 2):
        await scene.proof(str(number))
    await scene.review("2")
    value = await scene.submitting().value_for(ROUND + 1)
    assert read_round_value(value).proofs == tuple(cid_of(str(number)) for number in range(PROOFS_MAX))
    assert len(value) <= 512


async def test_no_proof_comes_into_a_round_while_its_text_is_put_together(scene: Scene) -> None:
    async with scene.turn:
        asked = asyncio.create_task(scene.submitting().value_for(ROUND + 1))
        await asyncio.sleep(0.05)
        assert not asked.done()
        cid = await scene.proof("late")
    assert await asked == cid
