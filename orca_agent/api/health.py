"""Whether the process lives (/healthz) and whether it can do its work (/health). Open to everybody who can reach it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from orca_agent.api.services import Services
from orca_agent.work.states import Depth
from orca_engine import REVISION
from orca_http.answers import json_answer, respond
from orca_protocol.errors import UnavailableError


def routes(services: Services) -> APIRouter:
    """Return the router of both."""
    router = APIRouter(tags=["health"])

    async def healthz() -> Response:
        """Say that the process lives."""
        return respond(json_answer(200, {"status": "alive"}))

    async def health() -> Response:
        """Say how the service stands; 503 where it cannot take work."""
        depth = await _depth(services)
        document = {
            "status": "ready",
            "service": "orca-agent",
            "version": services.version,
            "engine_revision": REVISION,
            "database": "ready",
            "queue": {
                "queued": depth.queued,
                "running": depth.running,
                "scheduled": depth.scheduled,
                "awaiting_input": depth.awaiting,
            },
            "models": await _models(services),
        }
        return respond(json_answer(200, document))

    for method in ("GET", "POST"):  # containers of the field are asked by POST, with and without the slash
        router.add_api_route(
            "/healthz", healthz, methods=[method], response_class=Response, operation_id=f"healthz_{method.lower()}"
        )
        router.add_api_route("/healthz/", healthz, methods=[method], response_class=Response, include_in_schema=False)
    router.add_api_route("/health", health, methods=["GET"], response_class=Response)
    return router


async def _depth(services: Services) -> Depth:
    try:
        async with asyncio.timeout(services.settings.health_seconds):
            return await services.queue.depth()
    except TimeoutError as error:
        raise UnavailableError("queue_unavailable", "the database did not answer in time; what is stored in it is safe") from error


async def _models(services: Services) -> dict[str, Any]:
    """Return how many providers can be asked; which ones, and what is wrong with them, is for who has the key."""
    try:
        async with asyncio.timeout(services.settings.health_seconds):
            status = await services.registry.status()
    except TimeoutError:
        return {"status": "not known yet"}
    answering = sum(trouble is None for trouble in status.values())
    return {"status": "ready" if answering else "absent", "providers": len(status), "answering": answering}
