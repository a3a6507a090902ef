"""Check 3: the node was entitled to do this work and to be paid for it: stake, lease, fencing token, time, models.

A run that nobody leased claims no payment, so there is nothing to be entitled to. A leased run needs a chain to be
checked against, which this version does not read.
"""

from __future__ import annotations

from audit.case import Case
from audit.finding import Finding
from orca_protocol.errors import UnavailableError


async def check_eligibility(case: Case) -> Finding:
    """Check the right to be paid. Raises UnavailableError ``no_chain`` for a leased run."""
    contents = case.require_contents()
    if "lease.dsse.json" in contents.received.files:
        raise UnavailableError(
            "no_chain", "stake and lease of this run can only be checked against a chain, and none is configured"
        )
    return Finding("nobody leased this run: it claims no payment", verdict="not_applicable", code="no_lease")
