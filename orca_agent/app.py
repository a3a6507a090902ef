"""Puts the agent's HTTP surface together: one function from its parts to an ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends, FastAPI
from starlette.types import ASGIApp

from orca_agent.api import batches, catalogue, chat, completions, health, limits, logs, page, runs, sockets
from orca_agent.api.followers import Followers
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.rates import RateHeaders
from orca_agent.api.services import Services
from orca_http.bounds import Bounds
from orca_http.local import LocalOnly


def create_app(
    services: Services, routers: Sequence[APIRouter] = (), on_status: Callable[[int], None] = lambda status: None
) -> ASGIApp:
    """Return the application; ``routers`` are a composition root's own, which see to their access themselves.

    ``on_status`` is told the status of every answer.

    There is no CORS header anywhere: a browser page of another origin gets nothing.
    """
    app = FastAPI(title="Orca agent", version=services.version, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.include_router(health.routes(services))
    followers = Followers(services.settings.followers)
    for router in (
        runs.routes(services, followers),
        completions.routes(services, followers),
        batches.routes(services),
        logs.routes(services),
        limits.routes(services),
        catalogue.routes(services),
        catalogue.openai_routes(services),
        chat.routes(services, followers),
    ):
        app.include_router(router, dependencies=[Depends(services.gate.guard)])
    app.include_router(sockets.routes(services, followers))
    for router in routers:
        app.include_router(router)
    page.install(app)
    PROBLEMS.install(app)
    settings = services.settings
    inner: ASGIApp = LocalOnly(app, PROBLEMS) if settings.is_local else app
    bounded = Bounds(
        inner,
        PROBLEMS,
        body_bytes=settings.body_bytes,
        seconds=settings.request_seconds,
        log="orca_agent.access",
        on_status=on_status,
    )
    return RateHeaders(bounded)
