"""The node's proofs over HTTP, for its owner: which there are, where each is kept, and letting go of those whose time is over."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import APIRouter, Depends
from starlette.responses import Response

from orca_agent.api.access import Gate
from orca_http.answers import json_answer, respond
from orca_protocol.errors import InvalidError
from proof_store.cid import Cid


class Keeps(Protocol):
    """What keeps proofs."""

    def status(self) -> list[dict[str, Any]]:
        """Return how each store stands."""

    async def proofs(self, root: str | None = None) -> list[dict[str, Any]]:
        """Return the newest proofs, or the one named, and where each is."""

    async def collect(self, *, dry: bool) -> list[str]:
        """Let go of the proofs whose time is over, or only name them."""


def routes(keeper: Keeps, gate: Gate) -> APIRouter:
    """Return the router of ``/v1/stores`` and ``/v1/proofs``."""
    router = APIRouter(prefix="/v1", tags=["proofs"], dependencies=[Depends(gate.needs("admin"))])

    async def stores() -> Response:
        """Say how each store stands, by the last look."""
        return respond(json_answer(200, {"stores": keeper.status()}))

    async def proofs() -> Response:
        """List the newest proofs and where each is kept."""
        return respond(json_answer(200, {"proofs": await keeper.proofs()}))

    async def proof(cid: str) -> Response:
        """Say where one proof is kept."""
        root = str(Cid.parse(cid))
        found = await keeper.proofs(root)
        if not found:
            raise InvalidError("proof_unknown", f"this node keeps no proof {root}; GET /v1/proofs lists those that it does")
        return respond(json_answer(200, found[0]))

    async def collect(dry: bool = False) -> Response:
        """Let go of the proofs whose time is over, in every store; with ``dry`` only name them."""
        return respond(json_answer(200, {"collected": await keeper.collect(dry=dry), "dry": dry}))

    router.add_api_route("/stores", stores, methods=["GET"], response_class=Response)
    router.add_api_route("/proofs", proofs, methods=["GET"], response_class=Response)
    router.add_api_route("/proofs/collect", collect, methods=["POST"], response_class=Response)
    router.add_api_route("/proofs/{cid}", proof, methods=["GET"], response_class=Response)
    return router
