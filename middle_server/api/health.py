"""Whether the process lives (/healthz) and whether it can do its work (/health)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from middle_server.api.services import Services
from middle_server.store.database import ping
from orca_http.answers import json_answer as answer
from orca_http.answers import respond


def routes(services: Services) -> APIRouter:
    """Return the router of both."""
    router = APIRouter(tags=["health"])

    async def healthz() -> Response:
        return respond(answer(200, {"status": "alive"}))

    async def health() -> Response:
        async with services.database.transaction() as connection:
            schema = await ping(connection)
        document = {
            "service": "orca-middle-server",
            "status": "ready",
            "schema": schema,
            "network": services.settings.network,
            "signer": services.settings.public_key,
        }
        return respond(answer(200, {**document, "task_ids": list(services.settings.task_ids)}))

    router.add_api_route("/healthz", healthz, methods=["GET"], response_class=Response)
    router.add_api_route("/health", health, methods=["GET"], response_class=Response)
    return router
