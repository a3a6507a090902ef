"""What the gateway answers when it does not answer: RFC 9457 problem documents, and which code has which status.

400 the request is wrong        404 the block or path is not here    405 only GET and HEAD       406 another form than raw and CAR
410 denied by the operator      412 not here, and only-if-cached     413 more than one answer carries
416 no byte of the range        500 the store is broken              503 too busy or too slow
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError

MEDIA_TYPE = "application/problem+json"

_STATUS = {
    # A node that cannot be followed is an invalid DAG node on the way (Path Gateway specification, "404 Not Found").
    404: ("not_found", "block_missing", "path_absent", "dag_pb_malformed", "unixfs_malformed", "size_mismatch"),
    405: ("method_not_allowed",),
    406: ("format_not_offered",),
    410: ("block_denied",),
    412: ("not_cached",),
    416: ("range_not_satisfiable",),
    500: ("block_corrupt", "storage_failed", "block_oversize"),
}
_BY_CODE = {code: status for status, codes in _STATUS.items() for code in codes}


def status_of(error: OrcaError) -> int:
    """Return the HTTP status of an error."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, UnavailableError):
        return 503
    return 413 if isinstance(error, LimitError) else 400


def problem_response(
    error: InvalidError | UnavailableError | LimitError | OrcaError, more: Mapping[str, str] | None = None
) -> Response:
    """Return the problem as a response that no cache keeps, with ``more`` headers."""
    status = status_of(error)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(more or {})}
    if status == 405:
        headers["Allow"] = "GET, HEAD"
    if status == 503:
        headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "retry_after", None) or 1)))
    return _document(status, error.code, error.detail, headers)


def our_mistake() -> Response:
    """Return what a bug looks like from outside: nothing of what happened within."""
    return _document(500, "internal", "this gateway made a mistake; its log says which", {"Cache-Control": "no-store"})


def _document(status: int, code: str, detail: str, headers: Mapping[str, str]) -> Response:
    document = {
        "type": f"urn:orca-node:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        # A detail may quote a stranger's text, and JSON cannot carry lone surrogates.
        "detail": detail.encode("utf-8", "replace").decode(),
    }
    return Response(canonical(document), status, headers=dict(headers), media_type=MEDIA_TYPE)
