"""Verdicts on this node's own proofs reach the events of the runs that they prove, and no other run's."""

from __future__ import annotations

import json
from typing import Any

from koii_chain.distribution import Distribution, Opinion
from orca_agent.rounds.paying import Reading
from orca_agent.rounds.telling import Telling
from orca_agent.store.events import EventLog, close_events
from orca_agent.store.postgres import PostgresJournal
from orca_agent.store.records import NodeRecords
from tests.unit.orca_agent.store.samples import RUN

ME, PEER = "me", "peer"
READING = Reading(
    opinions=[Opinion("y", ME, "mine", "approve"), Opinion("x", ME, "mine", "reject"), Opinion("x", PEER, "theirs", "approve")],
    refused={(ME, "broken"): "lease_forged: no"},
)
MADE = Distribution({ME: 5}, {(ME, "mine"): "paid", (PEER, "theirs"): "paid"})


async def _told(url: str, cid: str) -> list[dict[str, Any]]:
    journal = PostgresJournal(url)
    async with NodeRecords(url) as records, EventLog(url) as events:
        await journal.finish(await journal.begin(RUN), "success", 200.0, 0)
        async with events._transaction() as db:
            await close_events(db, RUN.id)
        claim = await records.begin_claim("c")
        await records.move(claim, "reported", todo="{}", run_id=RUN.id, round=3, cid=cid)
        telling = Telling(ME, records, events)
        for _ in range(2):
            await telling.tell(3, MADE, READING)
        await telling.tell(4, MADE, READING)
        told = await events.read(RUN.id, 0)
    await journal.close()
    return [json.loads(event.body) for event in told if event.kind == "verdict"]


async def test_a_run_hears_what_its_peers_said_of_it_once(database_url: str) -> None:
    votes = [{"auditor": "x", "vote": "reject"}, {"auditor": "y", "vote": "approve"}]
    assert await _told(database_url, "mine") == [{"round": 3, "cid": "mine", "outcome": "paid", "votes": votes}]


async def test_a_run_hears_that_its_proof_counts_for_nothing_and_why(database_url: str) -> None:
    assert await _told(database_url, "broken") == [
        {"round": 3, "cid": "broken", "outcome": "refused", "votes": [], "reason": "lease_forged: no"}
    ]


async def test_what_is_said_of_a_peers_proof_is_no_run_of_ours(database_url: str) -> None:
    assert await _told(database_url, "theirs") == []
