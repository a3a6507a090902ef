"""Verdicts: what an audit can say, and how checks add up to a decision.

Only bytes that were really received can mismatch, and only a mismatch rejects. What could not be fetched, asked or run
is ``not_measured``: unpaid, never slashed. An empty list of required checks approves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from orca_protocol.model import Natural, Strict

VERDICT_PREDICATE = "urn:orca-node:verdict:v1"

CheckVerdict = Literal["valid", "mismatch", "not_measured", "not_applicable"]
Vote = Literal["approve", "reject", "abstain"]

#: names of the checks in the order they run
CHECK_NAMES = ("integrity", "authenticity", "eligibility", "replay", "re-execution", "inference", "outcome")


class Cost(Strict):
    """What a check cost the auditor."""

    wall_ms: Natural
    #: bytes read or hashed
    bytes: Natural = 0
    #: tokens decoded again
    tokens: Natural = 0


class CheckResult(Strict):
    """What one check said of one proof."""

    check: str
    verdict: CheckVerdict
    #: stable and lower_snake; ``ok`` for valid
    code: str
    #: one sentence of evidence
    detail: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Decision:
    """The vote, and the checks it rests on."""

    vote: Vote
    reason: str


def decide(results: Iterable[CheckResult], required: Collection[str]) -> Decision:
    """Reject on any mismatch, approve when every required check is valid, abstain otherwise."""
    by_name = {result.check: result for result in results}
    mismatches = [result for result in by_name.values() if result.verdict == "mismatch"]
    if mismatches:
        return Decision("reject", "; ".join(f"{result.check}: {result.code}" for result in mismatches))
    if not required:
        return Decision("abstain", "no check was required")
    missing = [name for name in required if name not in by_name or by_name[name].verdict != "valid"]
    if missing:
        return Decision("abstain", "; ".join(f"{name}: {by_name[name].code if name in by_name else 'not run'}" for name in missing))
    return Decision("approve", "valid: " + ", ".join(required))
