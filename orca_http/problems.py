"""Errors as HTTP answers (RFC 9457): one class, which each surface gives its own table of codes.

401 you did not say who you are, or not well enough     403 you may not
404 there is no such thing                              409 it is not in a state for that
410 it was there and is over                            413, 429 a limit
503 the world did not answer; try again                 400 everything else that is wrong with what you sent
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orca_http.answers import Answer, respond
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError

MEDIA_TYPE = "application/problem+json"

#: what this package itself refuses, on every surface
_COMMON = {
    401: ("credentials_missing", "credentials_unknown"),
    403: ("host_foreign", "origin_foreign"),
    404: ("not_found",),
    405: ("method_not_allowed",),
    413: ("body_oversize", "json_oversize"),
    415: ("media_type",),
}


class Problems:
    """The problems of one surface. ``by_status`` says which codes have a status of their own."""

    def __init__(self, by_status: Mapping[int, Iterable[str]]) -> None:
        self._by_code = {code: status for table in (_COMMON, by_status) for status, codes in table.items() for code in codes}

    def status_of(self, error: OrcaError) -> int:
        """Return the HTTP status of an error."""
        if error.code in self._by_code:
            return self._by_code[error.code]
        if isinstance(error, UnavailableError):
            return 503
        return 429 if isinstance(error, LimitError) else 400

    def answer(self, error: OrcaError, **more: Any) -> Answer:
        """Return the problem document; ``more`` are members that this surface adds to it."""
        status = self.status_of(error)
        document = {
            "type": f"urn:orca-node:problem:{error.code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": error.code,
            "detail": error.detail,
            **more,
        }
        return Answer(status, MEDIA_TYPE, canonical(_printable(document)))

    def response(self, error: OrcaError, **more: Any) -> Response:
        """Return the problem as a response, with the headers that belong to it."""
        return marked(respond(self.answer(error, **more), retry_after=getattr(error, "retry_after", None)), error)

    def of_framework(self, status: int) -> Response:
        """Return the problem of a status that the framework chose itself."""
        if status == 404:
            return self.response(InvalidError("not_found", "there is nothing at this path; the paths are listed in /openapi.json"))
        if status == 405:
            return self.response(
                InvalidError("method_not_allowed", "this path knows other methods; they are listed in /openapi.json")
            )
        return self.response(InvalidError("request_malformed", "the request could not be read as HTTP"))

    def install(self, app: Starlette) -> None:
        """Let every error that leaves a handler of ``app`` become a problem document."""

        async def on_error(_: Request, error: Exception) -> Response:
            if not isinstance(error, OrcaError):
                raise error
            return self.response(error)

        async def on_http(_: Request, error: Exception) -> Response:
            if not isinstance(error, HTTPException):
                raise error
            return self.of_framework(error.status_code)

        async def on_gone(_: Request, __: Exception) -> Response:
            """Nobody is there to read this; it is not our mistake either."""
            return self.of_framework(400)

        async def on_bug(_: Request, __: Exception) -> Response:
            """Starlette logs the traceback itself; who asked learns only that it was our mistake."""
            return our_mistake()

        app.add_exception_handler(OrcaError, on_error)
        app.add_exception_handler(HTTPException, on_http)
        app.add_exception_handler(ClientDisconnect, on_gone)
        app.add_exception_handler(Exception, on_bug)


def marked(response: Response, error: OrcaError) -> Response:
    """Return ``response`` marked as not worth another try, where it is not.

    Ready-made clients repeat 409 and 5xx unless they are told; for a run that failed that would be another run, and its price.
    """
    if isinstance(error, InvalidError):
        response.headers["x-should-retry"] = "false"
    return response


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
