"""Which of the middle server's codes has which HTTP status, and what nodes find in a problem beside what everybody does."""

from __future__ import annotations

from starlette.responses import Response

from orca_http.answers import Answer, respond
from orca_http.problems import Problems
from orca_protocol.errors import OrcaError

PROBLEMS = Problems(
    {
        401: (
            "signature",
            "signer",
            "request_key",
            "request_audience",
            "request_early",
            "request_expired",
            "verdict_signer",
        ),
        403: (
            "devnet_key",
            "lease_foreign",
            "not_staked",
            "own_work",
            "request_action",
            "stake_too_low",
            "task_foreign",
            "task_inactive",
            "task_migrated",
        ),
        404: ("lease_unknown", "result_absent", "round_unknown", "task_unknown", "work_item_unknown"),
        409: (
            "claim_reused",
            "distribution_absent",
            "fencing_token_stale",
            "fencing_token_wrong",
            "lease_held",
            "no_match",
            "nothing_available",
            "request_reused",
            "result_differs",
            "round_differs",
            "round_settled",
            "round_wrong",
            "transition_illegal",
            "verdict_differs",
        ),
        410: ("lease_ended", "lease_expired"),
        413: ("envelope_oversize",),
    }
)


def node_problem(error: OrcaError) -> Answer:
    """Return the problem document for a node, which also finds what the original servers said: ``success`` and ``message``."""
    return PROBLEMS.answer(error, success=False, message=error.detail)


def node_problem_response(error: OrcaError) -> Response:
    """Return the same as a response, with the headers that belong to it."""
    return respond(node_problem(error), retry_after=getattr(error, "retry_after", None))
