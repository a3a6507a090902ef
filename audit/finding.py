"""What a check returns. A check that finds a fault raises; ``auditor`` is the one place that turns errors into verdicts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from audit.case import Case
from orca_protocol.verdict import CheckVerdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's word when nothing was wrong. ``bytes`` and ``tokens`` are what it looked at or decoded."""

    detail: str
    verdict: CheckVerdict = "valid"
    code: str = "ok"
    bytes: int = 0
    tokens: int = 0


Check = Callable[[Case], Awaitable[Finding]]
