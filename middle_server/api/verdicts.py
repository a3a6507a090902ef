"""Verdicts: signed documents, stored by auditor and proof, open to everybody who wants to count them."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from middle_server.api.services import Services
from middle_server.reviewing import Reviewing
from middle_server.rules.moments import rfc3339
from middle_server.store.rounds import VerdictRow, list_verdicts
from orca_http.answers import json_answer as answer
from orca_http.answers import respond
from orca_http.reading import body_schema, query_text
from orca_protocol.dsse import DsseEnvelope, read_envelope
from orca_protocol.errors import InvalidError
from orca_protocol.keys import is_devnet_key
from orca_protocol.verdict_statement import VERDICT_MAX_BYTES, open_verdict

_PAGE = 200


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/verdicts``."""
    router = APIRouter(prefix="/v1/verdicts", tags=["verdicts"])
    reviewing = Reviewing(services.settings)

    async def publish(request: Request) -> Response:
        body = await request.body()
        if len(body) > 2 * VERDICT_MAX_BYTES:
            raise InvalidError("body_oversize", f"a verdict has at most {2 * VERDICT_MAX_BYTES} bytes")
        auditor = read_envelope(body, where="verdict").signatures[0].keyid
        verdict = open_verdict(body, auditor, where="verdict")
        if not services.settings.is_devnet and is_devnet_key(auditor):
            raise InvalidError("devnet_key", "anybody can sign with this key; make one of your own: orca key new")
        if verdict.predicate.task_id not in services.settings.task_ids:
            raise InvalidError("task_foreign", f"this server serves the tasks {', '.join(services.settings.task_ids)}")
        await services.gate.check(verdict.predicate.task_id, auditor)
        async with services.database.transaction() as connection:
            is_new = await reviewing.say(connection, verdict, body, services.now())
        return respond(answer(201 if is_new else 200, {"auditor": auditor, "work_item": verdict.predicate.work_item}))

    async def show(request: Request) -> Response:
        work_item, auditor = query_text(request, "work_item"), query_text(request, "auditor")
        async with services.database.transaction() as connection:
            found = await list_verdicts(connection, work_item=work_item, auditor=auditor, limit=_PAGE)
        return respond(answer(200, {"verdicts": [_shown(verdict) for verdict in found]}))

    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("work_item", "auditor")]
    router.add_api_route("", publish, methods=["POST"], openapi_extra=body_schema(DsseEnvelope), response_class=Response)
    router.add_api_route("", show, methods=["GET"], openapi_extra={"parameters": parameters}, response_class=Response)
    return router


def _shown(verdict: VerdictRow) -> dict[str, Any]:
    return {
        "auditor": verdict.auditor,
        "work_item": verdict.work_item,
        "cid": verdict.cid,
        "round": verdict.round,
        "vote": verdict.vote,
        "reason": verdict.reason,
        "received": rfc3339(verdict.received),
        # its exact bytes, so that anybody can check the signature
        "document": base64.b64encode(verdict.document).decode(),
    }
