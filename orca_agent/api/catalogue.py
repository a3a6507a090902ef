"""What can be asked for: the swarm types that this engine really runs, and the models that are there now.

``/v1/models/available`` is the Swarms API's list, ``/v1/models`` the OpenAI API's. What more is known of a model than its name
and who answers for it belongs into ``model_document``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.envelope import Enveloped
from orca_agent.api.services import Services
from orca_agent.models.facts import facts_of
from orca_agent.models.registry import read_filter
from orca_engine.swarms import SWARMS
from orca_http.answers import json_answer, respond

#: when a model was made is not known; clients of that API want a number
_UNKNOWN = 0


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


def openai_routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/models`` and below; it stands after ``routes``, which has a path of the same form."""
    router = APIRouter(prefix="/v1/models", tags=["openai"], route_class=Enveloped)

    async def models(request: Request) -> Response:
        """List the names that a request can use, in the OpenAI API's form.

        ``language`` (BCP 47) and ``min_vram`` (GiB) leave the models that are known to suit.
        """
        language, min_vram = read_filter(request.query_params)
        rows = await services.registry.catalogue(language=language, min_vram=min_vram)
        found = {row.name: {**model_document(row.name, row.provider), **row.facts.document()} for row in rows if row.reachable}
        return respond(json_answer(200, {"object": "list", "data": list(found.values())}))

    async def model(name: str) -> Response:
        """Say who answers for a name; ``provider/name`` is one too."""
        found = await services.registry.resolve(name)
        facts = facts_of(found.provider, found.model).document()
        return respond(json_answer(200, {**model_document(name, found.provider.name), **facts}))

    router.add_api_route("", models, methods=["GET"], response_class=Response)
    router.add_api_route("/{name:path}", model, methods=["GET"], response_class=Response)
    return router


def model_document(name: str, provider: str) -> dict[str, Any]:
    """Return a model as the OpenAI API shows one."""
    return {"id": name, "object": "model", "created": _UNKNOWN, "owned_by": provider}
