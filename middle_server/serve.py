"""Runs the middle server: migrates the database, then serves by uvicorn until it is told to stop."""

from __future__ import annotations

import uvicorn

from middle_server.app import create_app
from middle_server.chain import Chain
from middle_server.migrate import migrate
from middle_server.settings import MiddleSettings
from orca_http.serving import config


def serve(settings: MiddleSettings, chain: Chain, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve until SIGINT or SIGTERM. Raises UnavailableError ``database_unavailable`` if the database cannot be migrated."""
    migrate(settings.database_url)
    server(settings, chain, host=host, port=port).run()


def server(settings: MiddleSettings, chain: Chain, *, host: str, port: int) -> uvicorn.Server:
    """Return a server that was not started yet, for who wants to run it in a loop of its own."""
    return uvicorn.Server(config(create_app(settings, chain), host=host, port=port))
