"""From a peer's submission to this node's signed verdict: fetch, check, decide, sign, keep, publish.

The verdict is kept before anybody hears it, so that an auditor who restarts says the same thing again. The middle server is
told at once; what counts is the folder of verdicts whose CID stands in this node's next submission on chain.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from audit.auditor import audit
from audit.case import Case, Expected
from audit.ports import ChainView, LeaseView, Redecoder
from audit.source import Source, fetched
from koii_chain.distribution import Claim
from orca_agent.models.retry import stamp
from orca_agent.rounds.middle import MiddleClient, Result
from orca_agent.rounds.settings import Identity, RoundsSettings
from orca_agent.store.records import NodeRecords, Review
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import OrcaError
from orca_protocol.lease import CheckName
from orca_protocol.statement import DigestSet, Subject
from orca_protocol.verdict import CheckResult, decide
from orca_protocol.verdict_statement import VerdictPredicate, VerdictStatement, sign_verdict
from orca_protocol.vsa import sign_vsa
from proof_store.base import BlockStore
from proof_store.builder import build_directory
from proof_store.cid import Cid

log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Gets a peer's tree of blocks from wherever it is."""

    async def fetch(self, cid: Cid, owner: str) -> BlockStore:
        """Return a store that holds the tree below ``cid``, which ``owner`` put on chain.

        Raises UnavailableError ``data_unavailable``, LimitError for more than is read.
        """


@dataclass(frozen=True, slots=True)
class AuditParts:
    """What auditing is done with."""

    identity: Identity
    middle: MiddleClient
    records: NodeRecords
    fetcher: Fetcher
    chain: ChainView
    leases: LeaseView
    redecoder: Redecoder | None
    #: sound packages are kept and served from here on: a proof then has another home than its worker's
    blocks: BlockStore


class Auditing:
    """Audits proofs, one at a time: decoding again takes the whole machine anyway."""

    def __init__(self, settings: RoundsSettings, parts: AuditParts) -> None:
        self._settings = settings
        self._parts = parts
        self._turn = asyncio.Lock()

    async def review(self, number: int, claim: Claim) -> Review:
        """Return this node's verdict on a claim of a round, kept and published; the one it gave before, if it did."""
        async with self._turn:
            worker, cid = claim
            known = {(review.worker, review.cid): review for review in await self._parts.records.reviews_of(number)}
            review = known.get(claim) or await self._judge(number, worker, cid)
            await self._parts.records.keep_review(review)
        await self._publish(review)
        return review

    async def _judge(self, number: int, worker: str, cid: str) -> Review:
        case = await self._case(number, worker, cid)
        results = [result async for result in audit(case)]
        for result in results:
            log.info("round %s, %s: %s %s %s %s", number, cid, result.check, result.verdict, result.code, result.detail)
        if results[0].verdict == "valid" and case.contents is not None:
            await asyncio.to_thread(build_directory, case.contents.received.files, self._parts.blocks)
        verdict = await self._verdict(case, results, number, worker, cid)
        document = sign_verdict(verdict, self._parts.identity.staking)
        said = verdict.predicate
        vsa = sign_vsa(verdict, document, self._parts.identity.staking)
        log.info("round %s, %s by %s: %s, %s", number, cid, worker, said.vote, said.reason)
        return Review(number, worker, cid, said.vote, said.reason, document, vsa)

    async def _case(self, number: int, worker: str, cid: str) -> Case:
        return Case(
            source=await self._source(worker, cid),
            signer=worker,
            lease_signer=self._settings.lease_signer,
            expected=Expected(self._settings.network, self._settings.task_id, number),
            network=self._settings.network,
            chain=self._parts.chain,
            leases=self._parts.leases,
            redecoder=self._parts.redecoder,
            inference_rate=self._settings.inference_rate,
            limits=self._settings.limits,
        )

    async def _source(self, worker: str, cid: str) -> Source:
        """Return the fetched package as the audit reads it; what went wrong in fetching is for the audit to say."""
        root = Cid.parse(cid)
        return await fetched(root, self._parts.fetcher.fetch(root, worker), self._settings.limits)

    async def _verdict(self, case: Case, results: list[CheckResult], number: int, worker: str, cid: str) -> VerdictStatement:
        """Return the statement. What the package did not tell of its item, the middle server is asked."""
        required: tuple[CheckName, ...] = ()
        work_item = "unknown"
        if case.lease is not None:
            required, work_item = case.lease.required_checks, case.lease.work_item
        elif (result := await self._reported(number, worker, cid)) is not None:
            required, work_item = tuple(result.required_checks), result.work_item
        decision = decide(results, required)
        statement = None if case.contents is None else case.contents.received.files["statement.dsse.json"]
        # Of a package that never came nothing is known but its root's own digest, which is in the CID.
        digest = Cid.parse(cid).digest.hex() if statement is None else sha256_hex(statement)
        return VerdictStatement(
            subject=(Subject(name=cid, digest=DigestSet(sha256=digest)),),
            predicate=VerdictPredicate(
                network=self._settings.network,
                task_id=self._settings.task_id,
                round=number,
                work_item=work_item,
                worker=worker,
                auditor=self._parts.identity.key,
                required=required,
                checks=tuple(results),
                vote=decision.vote,
                reason=decision.reason[:4096],
                issued=stamp(datetime.now(UTC)),
            ),
        )

    async def _reported(self, number: int, worker: str, cid: str) -> Result | None:
        try:
            results = await self._parts.middle.results(number)
        except OrcaError as error:
            log.warning("what was reported for round %s is not known: %s", number, error)
            return None
        return next((result for result in results if (result.worker, result.cid) == (worker, cid)), None)

    async def _publish(self, review: Review) -> None:
        """Tell the middle server. It counts nothing of what is paid, so a refusal stops nothing."""
        try:
            await self._parts.middle.publish(review.document)
        except OrcaError as error:
            log.warning("the verdict on %s is on chain only: %s", review.cid, error)
