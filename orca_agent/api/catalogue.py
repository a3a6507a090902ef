"""What can be asked for: the swarm types that this engine really runs, and the models that are there now."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.services import Services
from orca_agent.models.registry import read_filter
from orca_engine.swarms import SWARMS
from orca_http.answers import json_answer, respond


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/swarms/available`` and ``/v1/models/available``."""
    router = APIRouter(prefix="/v1", tags=["catalogue"])

    async def swarms() -> Response:
        """List the swarm types that run here; the others are refused by name."""
        return respond(json_answer(200, {"success": True, "swarm_types": list(SWARMS)}))

    async def models(request: Request) -> Response:
        """List the names that a spec can use; ``catalogue`` says who answers, and which providers could not be asked.

        ``language`` (BCP 47) and ``min_vram`` (GiB) leave the models that are known to suit.
        """
        language, min_vram = read_filter(request.query_params)
        rows = await services.registry.catalogue(language=language, min_vram=min_vram)
        names = list(dict.fromkeys(row.name for row in rows if row.reachable))
        catalogue = [row.document() for row in rows]
        return respond(json_answer(200, {"success": True, "count": len(names), "models": names, "catalogue": catalogue}))

    router.add_api_route("/swarms/available", swarms, methods=["GET"], response_class=Response)
    router.add_api_route("/models/available", models, methods=["GET"], response_class=Response)
    return router
