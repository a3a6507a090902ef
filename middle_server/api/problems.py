"""Errors as HTTP answers (RFC 9457). The one place that knows which code has which status.

401 you did not say who you are, or not well enough     403 you may not
404 there is no such thing                              409 it is not in a state for that
410 it was yours and is over                            413, 429 a limit
503 the world did not answer; try again                 400 everything else that is wrong with what you sent
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from middle_server.store.answers import Answer
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError

MEDIA_TYPE = "application/problem+json"

_STATUS = {
    401: (
        "credentials_missing",
        "credentials_unknown",
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
    404: ("lease_unknown", "not_found", "result_absent", "round_unknown", "task_unknown", "work_item_unknown"),
    405: ("method_not_allowed",),
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
    413: ("body_oversize", "envelope_oversize", "json_oversize"),
}
_BY_CODE = {code: status for status, codes in _STATUS.items() for code in codes}


def status_of(error: OrcaError) -> int:
    """Return the HTTP status of an error."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, UnavailableError):
        return 503
    return 429 if isinstance(error, LimitError) else 400


def problem(error: OrcaError, *, for_node: bool = False) -> Answer:
    """Return the problem document; a node also finds what the original servers said: ``success`` and ``message``."""
    status = status_of(error)
    document: dict[str, Any] = {
        "type": f"urn:orca-node:problem:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": error.detail,
    }
    if for_node:
        document |= {"success": False, "message": error.detail}
    return Answer(status, MEDIA_TYPE, canonical(_printable(document)))


def problem_response(error: OrcaError, *, for_node: bool = False) -> Response:
    """Return the problem as a response, with the headers that belong to it."""
    return respond(problem(error, for_node=for_node), retry_after=getattr(error, "retry_after", None))


def respond(answer: Answer, *, retry_after: float | None = None, location: str | None = None) -> Response:
    """Return an answer as a response. What was answered once is answered with the same headers again."""
    headers = {"Cache-Control": "no-store"}
    if answer.status in {429, 503}:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after or 1)))
    if answer.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="orca"'
    if location is not None:
        headers["Location"] = location
    return Response(answer.body, answer.status, headers=headers, media_type=answer.content_type)


def of_framework(status: int) -> Response:
    """Return the problem of a status that the framework chose itself."""
    if status == 404:
        return problem_response(InvalidError("not_found", "there is nothing at this path; the paths are listed in /openapi.json"))
    if status == 405:
        return problem_response(
            InvalidError("method_not_allowed", "this path knows other methods; they are listed in /openapi.json")
        )
    return problem_response(InvalidError("request_malformed", "the request could not be read as HTTP"))


def our_mistake() -> Response:
    """Return what a bug looks like from outside: nothing of what happened within."""
    document = {
        "type": "urn:orca-node:problem:internal",
        "title": HTTPStatus(500).phrase,
        "status": 500,
        "code": "internal",
        "detail": "this server made a mistake; its log says which. The same request may work later",
    }
    return respond(Answer(500, MEDIA_TYPE, canonical(document)))


def _printable(document: dict[str, Any]) -> dict[str, Any]:
    """Replace what JSON cannot carry: a detail may quote a stranger's text."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for name, value in document.items()
    }
