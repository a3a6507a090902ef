"""Which of the agent's codes has which HTTP status; the rest follow from their kind (``orca_http.problems``)."""

from __future__ import annotations

from orca_http.problems import Problems

PROBLEMS = Problems(
    {
        401: ("credentials_expired", "credentials_revoked"),
        403: ("scope_missing",),
        404: ("proof_unavailable", "proof_unknown", "run_unknown"),
        409: (
            "idempotency_conflict",
            "input_given",
            "not_awaiting",
            "output_absent",
            "run_cancelled",
            "run_ended",
            "run_unended",
        ),
        410: ("events_forgotten",),
        413: ("proof_too_large",),
        500: ("entry_missing", "entry_unasked", "journal_damaged", "journal_order", "request_differs", "run_failed"),
        502: ("run_error",),
        503: ("stopping",),
        504: ("run_deadline", "run_goes_on"),
    }
)
