"""What others ask of the node over HTTP: a sidecar about rounds, anybody who may about what it does and did."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from koii_chain.client import ChainClient
from koii_chain.distribution import Claim
from orca_agent.rounds.auditing import Auditing
from orca_agent.rounds.node import RoundsNode
from orca_agent.rounds.paying import Paying
from orca_agent.rounds.schedule import opinion_on
from orca_agent.rounds.settings import RoundsSettings
from orca_agent.rounds.status import Look, describe, history, reviews
from orca_agent.rounds.submitting import Submitting
from orca_agent.rounds.working import Working
from orca_agent.store.records import NodeRecords, Review
from orca_agent.work.pinning import Pinning
from orca_protocol.errors import InvalidError
from orca_protocol.round_value import read_round_value

log = logging.getLogger(__name__)

_VOTES: dict[str, bool | None] = {"approve": True, "reject": False, "abstain": None}


class NodeFace:
    """Answers for one node. ``loop`` is None beside a Koii node, which keeps the rounds itself."""

    def __init__(
        self,
        settings: RoundsSettings,
        key: str,
        chain: ChainClient,
        records: NodeRecords,
        working: Working,
        auditing: Auditing,
        submitting: Submitting,
        paying: Paying,
        pinning: Pinning,
        loop: RoundsNode | None,
    ) -> None:
        self._settings = settings
        self._key = key
        self._chain = chain
        self._records = records
        self._working = working
        self._auditing = auditing
        self._submitting = submitting
        self._paying = paying
        self._pinning = pinning
        self._loop = loop
        self._reviewing: dict[tuple[int, Claim], asyncio.Task[Review]] = {}

    def status(self) -> dict[str, Any]:
        """Return what it does now, and why it is idle."""
        look = Look(blind=None) if self._loop is None else self._loop.look
        working = self._working
        return {
            **describe(look, key=self._key, working=working.doing, idle=working.idle, run_id=working.run_id),
            "asked": working.asked,
            "task_id": self._settings.task_id,
            "network": self._settings.network,
            "gateway": self._settings.gateway,
            "stores": self._pinning.status(),
        }

    async def history(self) -> dict[str, Any]:
        """Return its newest assignments and rounds, and what became of them."""
        return await history(self._records)

    async def reviews(self, number: int) -> list[dict[str, Any]]:
        """Return its verdicts on the proofs of a round."""
        return await reviews(self._records, number)

    async def value_for(self, number: int) -> str:
        """Return what goes on chain for a round."""
        return await self._submitting.value_for(number)

    async def audit(self, number: int, worker: str, value: str) -> tuple[bool | None, str]:
        """Return the vote on what a worker submitted for a round, None where it could not be told, and the reason.

        Who submitted no proof claims nothing, and is voted for.
        """
        try:
            proofs = read_round_value(value).proofs
        except InvalidError as error:
            return None, error.detail
        if not proofs:
            return True, "no proof was submitted: nothing is claimed"
        made = [await self._review(number, (worker, cid)) for cid in proofs]
        votes = {(one.worker, one.cid): one.vote for one in made}
        vote = opinion_on(votes, worker, votes)
        return _VOTES[vote], "; ".join(f"{one.cid}: {one.vote}: {one.reason}" for one in made)

    async def _review(self, number: int, claim: Claim) -> Review:
        """Return the verdict. An audit goes on when who asked for it waits no more: whoever asks next gets it."""
        running = self._reviewing.get((number, claim))
        if running is None:
            running = self._reviewing[number, claim] = asyncio.create_task(self._auditing.review(number, claim))
            running.add_done_callback(lambda ended: self._reviewed(number, claim, ended))
        return await asyncio.shield(running)

    def _reviewed(self, number: int, claim: Claim, ended: asyncio.Task[Review]) -> None:
        del self._reviewing[number, claim]
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.warning("audit of %s in round %s: %s", claim[1], number, error)

    async def distribution(self, number: int) -> dict[str, int]:
        """Return the list of a round."""
        task = (await self._chain.fresh_task(self._settings.task_id)).task
        distribution, _ = await self._paying.distribution(task, number)
        return distribution.amounts
