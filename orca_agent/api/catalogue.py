"""What can be asked for: the swarm types that this engine really runs, and the models that are there now."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from orca_agent.api.services import Services
from orca_engine.swarms import SWARMS
from orca_http.answers import json_answer, respond


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/swarms/available`` and ``/v1/models/available``."""
    router = APIRouter(prefix="/v1", tags=["catalogue"])

    async def swarms() -> Response:
        """List the swarm types that run here; the others are refused by name."""
        return respond(json_answer(200, {"success": True, "swarm_types": list(SWARMS)}))

    async def models() -> Response:
        """List the names that a spec can use; ``catalogue`` says who answers, and which providers could not be asked."""
        rows = await services.registry.catalogue()
        names = list(dict.fromkeys(row.name for row in rows if row.reachable))
        catalogue = [{"name": row.name, "provider": row.provider, "reachable": row.reachable, "detail": row.detail} for row in rows]
        return respond(json_answer(200, {"success": True, "count": len(names), "models": names, "catalogue": catalogue}))

    router.add_api_route("/swarms/available", swarms, methods=["GET"], response_class=Response)
    router.add_api_route("/models/available", models, methods=["GET"], response_class=Response)
    return router
