"""What this node puts on chain for a round: its proofs, its verdicts on the round before, or why there is neither.

The text is kept before it is given out, and given out again from then on: a proof that comes later belongs to a later round.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from orca_agent.store.records import NodeRecords
from orca_protocol.round_value import PROOFS_MAX, RoundValue, write_round_value
from orca_protocol.verdict_bundle import SignedVerdict, write_bundle
from proof_store.base import BlockStore
from proof_store.builder import build_directory


class Submitting:
    """Puts values together. ``why_idle`` says in a code why there was no work; ``turn`` keeps proofs from coming meanwhile."""

    def __init__(self, records: NodeRecords, blocks: BlockStore, why_idle: Callable[[], str], turn: asyncio.Lock) -> None:
        self._records = records
        self._blocks = blocks
        self._why_idle = why_idle
        self._turn = turn

    async def value_for(self, number: int) -> str:
        """Return the text for the chain, of at most 512 bytes; the same one whenever it is asked for again."""
        async with self._turn:
            value = await self._records.submission_of(number)
            if value is None:
                value = await self._value_for(number)
                await self._records.keep_submission(number, value)
        return value

    async def _value_for(self, number: int) -> str:
        made = await self._records.assignments_of(number)
        proofs = tuple(assignment.cid for assignment in made if assignment.cid is not None)[:PROOFS_MAX]
        verdicts = await self._verdicts_on(number - 1)
        if not proofs and verdicts is None:
            return write_round_value(RoundValue(idle=_code(self._why_idle())))
        return write_round_value(RoundValue(proofs, verdicts))

    async def _verdicts_on(self, number: int) -> str | None:
        reviews = await self._records.reviews_of(number)
        if not reviews:
            return None
        files = write_bundle(SignedVerdict(review.worker, review.cid, review.document, review.vsa) for review in reviews)
        return str((await asyncio.to_thread(build_directory, files, self._blocks)).cid)


def _code(reason: str) -> str:
    """Return the code at the beginning of a reason."""
    found = re.match(r"[a-z][a-z0-9_]{0,63}", reason)
    return found[0] if found else "no_work"
