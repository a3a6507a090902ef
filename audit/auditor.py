"""Runs the checks over a case and turns what they raise into verdicts. The one place that does so.

returned a finding      what it says (valid, not_applicable)
InvalidError            mismatch: bytes that were received are wrong
UnavailableError        not_measured: the world did not answer, or this node cannot tell
LimitError              not_measured: this auditor's own budget was spent
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

from audit.case import Case
from audit.checks import CHECKS
from audit.finding import Check, Finding
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.verdict import CheckResult, Cost

#: checks that need no model: anyone can run them on any machine
REPLAY_LEVEL = ("integrity", "authenticity", "eligibility", "replay")
FULL_LEVEL = tuple(CHECKS)


async def audit(case: Case, checks: Iterable[str] = FULL_LEVEL) -> AsyncIterator[CheckResult]:
    """Run the named checks in the table's order; each result is given as soon as it is there."""
    wanted = set(checks)
    for name, check in CHECKS.items():
        if name in wanted:
            yield await run_check(name, check, case)


async def run_check(name: str, check: Check, case: Case) -> CheckResult:
    """Run one check and say its verdict."""
    started = time.perf_counter()
    try:
        finding = await check(case)
    except OrcaError as error:
        finding = Finding(error.detail, "mismatch" if isinstance(error, InvalidError) else "not_measured", error.code)
    wall_ms = round((time.perf_counter() - started) * 1000)
    cost = Cost(wall_ms=wall_ms, bytes=finding.bytes, tokens=finding.tokens)
    return CheckResult(check=name, verdict=finding.verdict, code=finding.code, detail=finding.detail, cost=cost)
