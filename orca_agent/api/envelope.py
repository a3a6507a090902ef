"""Errors as clients of the OpenAI API read them: ``{"error": {message, type, param, code}}``, with the same codes as everywhere.

A route of that family has ``route_class=Enveloped``: whatever is raised on its way, by the guard too, leaves in the envelope.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from orca_agent.api.problems import PROBLEMS
from orca_http.answers import json_answer, respond
from orca_http.problems import marked
from orca_protocol.errors import InvalidError, OrcaError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_FIELD = re.compile(r"(?:body: )?([a-z][\w.\[\]]*): ")
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Enveloped(APIRoute):
    """A route whose errors are enveloped."""

    def get_route_handler(self) -> _Handler:
        """Return the handler of the whole route, what it depends on included."""
        handle = super().get_route_handler()

        async def enveloping(request: Request) -> Response:
            try:
                return await handle(request)
            except ClientDisconnect:
                raise
            except OrcaError as error:
                return enveloped(error)

        return enveloping


def enveloped(error: OrcaError) -> Response:
    """Return the error as a response."""
    status = _status_of(error)
    return marked(respond(json_answer(status, envelope(error)), retry_after=getattr(error, "retry_after", None)), error)


def envelope(error: OrcaError) -> dict[str, Any]:
    """Return the error as a document. ``param`` is the field that the detail begins with, if it does."""
    status = _status_of(error)
    detail = error.detail.encode("utf-8", "replace").decode()
    named = _FIELD.match(detail) if error.code in {"schema", "field_unsupported"} else None
    return {
        "error": {
            "message": detail,
            "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": None if named is None else named.group(1),
            "code": error.code,
        }
    }


def _status_of(error: OrcaError) -> int:
    """Answer for a model that nobody has as for a page that is not there; one whose server may come back is no such thing."""
    is_absent = error.code == "model_unavailable" and isinstance(error, InvalidError)
    return 404 if is_absent else PROBLEMS.status_of(error)
