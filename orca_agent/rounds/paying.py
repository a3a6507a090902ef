"""Who is paid for a round, as this node computes it from the chain and from the proofs and verdicts that stand there.

Every honest node reads the same bytes, for they are named by their CIDs, and so computes the same list. A node that could
not read all of them knows so: it may still make a list of what it read, but it never votes against somebody else's.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

from audit.auditor import audit
from audit.case import Case, Expected
from audit.source import from_blocks
from koii_chain.distribution import Claim, Distribution, Item, Opinion, distribute, policy_of
from koii_chain.state import TaskState
from orca_agent.rounds.auditing import Fetcher
from orca_agent.rounds.schedule import claims_in
from orca_agent.rounds.settings import RoundsSettings
from orca_protocol.errors import LimitError, OrcaError, UnavailableError
from orca_protocol.lease import Lease
from orca_protocol.round_value import read_round_value
from orca_protocol.verdict_bundle import read_bundle
from orca_protocol.verdict_statement import VerdictStatement
from proof_store.cid import Cid
from proof_store.reader import read_directory

log = logging.getLogger(__name__)

#: what says whose a lease is, and for how much
_CHECKS = ("integrity", "authenticity")


@dataclass(slots=True)
class Reading:
    """What was read of a round. ``missing`` names what could not be fetched: without it a list may honestly be another one."""

    leases: dict[Claim, Lease] = field(default_factory=dict)
    opinions: list[Opinion] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    #: claims that count for nothing, and why
    refused: dict[Claim, str] = field(default_factory=dict)

    @property
    def items(self) -> list[Item]:
        """The claims with the prices of their leases."""
        return [Item(worker, cid, int(lease.price)) for (worker, cid), lease in self.leases.items()]


class Paying:
    """Computes distributions."""

    def __init__(self, settings: RoundsSettings, fetcher: Fetcher) -> None:
        self._settings = settings
        self._fetcher = fetcher

    async def distribution(self, task: TaskState, number: int) -> tuple[Distribution, Reading]:
        """Return the distribution of a round, and what it was computed from. Raises as ``policy_of`` and ``distribute`` do."""
        reading = Reading()
        for claim in sorted(claims_in(task, number)):
            await self._read_claim(number, claim, reading)
        for auditor, entry in sorted(task.submissions.get(number + 1, {}).items()):
            await self._read_verdicts(number, auditor, entry.submission_value, reading)
        return distribute(task, number, reading.items, reading.opinions, policy_of(task)), reading

    async def _read_claim(self, number: int, claim: Claim, reading: Reading) -> None:
        """Read the lease of a claim; a claim whose proof is not authentic has none, and is paid nothing."""
        worker, cid = claim
        try:
            root = Cid.parse(cid)
            blocks = await self._fetcher.fetch(root, worker)
        except OrcaError as error:
            if not self._set_aside(f"{cid} of {worker}", error, reading):
                reading.refused[claim] = f"{error.code}: {error.detail}"
            return
        case = Case(
            source=from_blocks(root, blocks, self._settings.limits),
            signer=worker,
            lease_signer=self._settings.lease_signer,
            expected=Expected(self._settings.network, self._settings.task_id, number),
            network=self._settings.network,
            limits=self._settings.limits,
        )
        results = [result async for result in audit(case, _CHECKS)]
        faults = {result.verdict: f"{result.code}: {result.detail}" for result in reversed(results)}
        if "mismatch" in faults:
            reading.refused[claim] = faults["mismatch"]
        elif "not_measured" in faults:
            reading.missing.append(f"{cid} of {worker}: {faults['not_measured']}")
        elif case.lease is not None:
            reading.leases[claim] = case.lease
        else:
            reading.refused[claim] = "no_lease: nobody leased this run, so it claims no payment"

    async def _read_verdicts(self, number: int, auditor: str, value: str, reading: Reading) -> None:
        try:
            folder = read_round_value(value).verdicts
            if folder is None:
                return
            root = Cid.parse(folder)
            blocks = await self._fetcher.fetch(root, auditor)
            said = read_bundle(read_directory(root, blocks, self._settings.limits.of_tree), auditor)
        except OrcaError as error:  # a submission that cannot be read says nothing
            self._set_aside(f"verdicts of {auditor}", error, reading)
        else:
            reading.opinions += [opinion for verdict in said if (opinion := self._opinion(number, verdict, reading)) is not None]

    def _set_aside(self, what: str, error: OrcaError, reading: Reading) -> bool:
        """Count it for nothing, or as missing where others may well have read it: it did not come, or this operator reads less.

        Returns whether it is missing.
        """
        log.info("%s is set aside: %s", what, error)
        reads_less = isinstance(error, LimitError) and self._settings.limits.are_below_the_protocols
        is_missing = isinstance(error, UnavailableError) or reads_less
        if is_missing:
            reading.missing.append(f"{what}: {error.detail}")
        return is_missing

    def _opinion(self, number: int, verdict: VerdictStatement, reading: Reading) -> Opinion | None:
        """Return what a verdict says about a claim of the round, if it is about one, by the checks that its lease requires."""
        said = verdict.predicate
        lease = reading.leases.get((said.worker, verdict.cid))
        about = (said.network, said.task_id, said.round)
        if lease is None or about != (self._settings.network, self._settings.task_id, number):
            return None
        if set(said.required) != set(lease.required_checks) or said.work_item != lease.work_item:
            return None
        return Opinion(said.auditor, said.worker, verdict.cid, said.vote)


def outcomes_json(distribution: Distribution, reading: Reading, own: str) -> str:
    """Return what became of each claim of a round, with votes and prices, for whoever asks why something was or was not paid."""
    prices = {item.claim: item.price for item in reading.items}
    rows = [
        {
            "worker": worker,
            "cid": cid,
            "outcome": outcome,
            "price": str(prices.get((worker, cid), 0)),
            "approvals": distribution.approvals.get((worker, cid), []),
            "own": worker == own,
        }
        for (worker, cid), outcome in distribution.outcomes.items()
    ]
    rows += [
        {"worker": worker, "cid": cid, "outcome": "refused", "reason": reason, "price": "0", "approvals": [], "own": worker == own}
        for (worker, cid), reason in sorted(reading.refused.items())
    ]
    return json.dumps({"claims": rows, "missing": reading.missing}, sort_keys=True)
