"""``GET /v1/swarm/logs``: the runs that were asked for over HTTP, newest first, and how many there are of them.

A log says how a run stands and where to read more. It holds nothing of what was sent or said, so no secret either.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.access import caller_of
from orca_agent.api.documents import run_document
from orca_agent.api.runs import KEYS, keys_of
from orca_agent.api.services import Services
from orca_agent.models.retry import stamp
from orca_http.answers import json_answer, respond
from orca_http.reading import place_of
from orca_protocol.errors import InvalidError

_LONGEST = 100
_LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": _LONGEST, "default": _LONGEST}}
_AFTER = {"name": "after", "in": "query", "schema": {"type": "integer", "minimum": 1}}


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/swarm/logs``."""
    router = APIRouter(prefix="/v1/swarm", tags=["runs"])

    async def logs(request: Request) -> Response:
        """List runs, newest first; ``after`` of an answer asks for the older ones that follow it."""
        limit = _limit(request)
        before = place_of(request, "after", what="the value of after in the answer before") or None
        caller = caller_of(request)
        keys = KEYS if caller.is_admin else keys_of(caller)
        count, found = await services.queue.newest(keys=keys, before=before, limit=limit)
        document = {
            "status": "success",
            "count": count,
            "logs": [run_document(state) for state in found],
            "after": str(found[-1].place) if len(found) == limit else None,
            "timestamp": stamp(datetime.now(UTC)),
        }
        return respond(json_answer(200, document))

    router.add_api_route("/logs", logs, methods=["GET"], openapi_extra={"parameters": [_LIMIT, _AFTER]}, response_class=Response)
    return router


def _limit(request: Request) -> int:
    value = request.query_params.get("limit", str(_LONGEST))
    if not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= _LONGEST:
        raise InvalidError("query", f"limit: a number from 1 to {_LONGEST}")
    return int(value)
