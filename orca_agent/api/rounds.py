"""Rounds over HTTP: what the node says of itself, and, for a Koii task's sidecar, what to submit, vote and distribute.

The sidecar shows a token that is made anew at every start, so that no other process of this machine can have the node audit
or speak for it. An audit that could not tell answers ``vote: null``: the sidecar must not vote then.
"""

from __future__ import annotations

import hmac
import re
from typing import Any, Protocol

from fastapi import APIRouter, Depends
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.access import Gate
from orca_http.answers import json_answer, respond
from orca_http.reading import read_json
from orca_protocol.errors import InvalidError
from orca_protocol.lease import PublicKey
from orca_protocol.model import Strict

_BODY_MAX_BYTES = 16 * 1024


class Speaks(Protocol):
    """What a node can say of itself."""

    def status(self) -> dict[str, Any]:
        """Return what it does now, and why it is idle."""

    async def history(self) -> dict[str, Any]:
        """Return its newest assignments and rounds, and what became of them."""

    async def reviews(self, number: int) -> list[dict[str, Any]]:
        """Return its verdicts on the proofs of a round."""


class Rounds(Speaks, Protocol):
    """What a sidecar asks of the node."""

    async def value_for(self, number: int) -> str:
        """Return what goes on chain for a round."""

    async def audit(self, number: int, worker: str, value: str) -> tuple[bool | None, str]:
        """Return the vote on what a worker submitted for a round, None where it could not be told, and the reason."""

    async def distribution(self, number: int) -> dict[str, int]:
        """Return the list of a round."""


class AuditRequest(Strict):
    """What a Koii node hands to its task's audit."""

    submission: str
    submitter: PublicKey


def status_routes(node: Speaks, gate: Gate) -> APIRouter:
    """Return the router of ``/status`` and below, for the node's own people."""
    router = APIRouter(prefix="/status", tags=["status"], dependencies=[Depends(gate.needs("admin"))])

    async def now() -> Response:
        return respond(json_answer(200, node.status()))

    async def history() -> Response:
        return respond(json_answer(200, await node.history()))

    async def reviews(number: str) -> Response:
        return respond(json_answer(200, {"reviews": await node.reviews(_round(number))}))

    router.add_api_route("", now, methods=["GET"], response_class=Response)
    router.add_api_route("/history", history, methods=["GET"], response_class=Response)
    router.add_api_route("/reviews/{number}", reviews, methods=["GET"], response_class=Response)
    return router


def sidecar_routes(node: Rounds, token: SecretStr) -> APIRouter:
    """Return the router of ``/rounds``, for who shows ``token`` as its bearer."""
    router = APIRouter(prefix="/rounds", tags=["rounds"], dependencies=[Depends(_bearer(token))])

    async def task(number: str) -> Response:
        """Work goes on by itself; this says how it stands at the start of a round."""
        return respond(json_answer(200, {**node.status(), "round": _round(number)}))

    async def submission(number: str) -> Response:
        return respond(json_answer(200, {"round": _round(number), "value": await node.value_for(_round(number))}))

    async def audit(request: Request, number: str) -> Response:
        wanted = await read_json(request, AuditRequest, max_bytes=_BODY_MAX_BYTES)
        vote, reason = await node.audit(_round(number), wanted.submitter, wanted.submission)
        return respond(json_answer(200, {"round": _round(number), "vote": vote, "reason": reason}))

    async def distribution(number: str) -> Response:
        amounts = await node.distribution(_round(number))
        return respond(
            json_answer(200, {"round": _round(number), "amounts": {key: str(amount) for key, amount in amounts.items()}})
        )

    router.add_api_route("/{number}/task", task, methods=["POST"], response_class=Response)
    router.add_api_route("/{number}/submission", submission, methods=["GET"], response_class=Response)
    router.add_api_route("/{number}/audit", audit, methods=["POST"], response_class=Response)
    router.add_api_route("/{number}/distribution", distribution, methods=["GET"], response_class=Response)
    return router


def _bearer(token: SecretStr) -> Any:
    async def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = token.get_secret_value()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), wanted.encode()):
            raise InvalidError("credentials_unknown", "the sidecar's token is in the file that the node names at its start")

    return check


def _round(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,14}", text):
        raise InvalidError("round_unknown", "a round is a number")
    return int(text)
