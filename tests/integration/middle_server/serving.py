"""A middle server in a process of its own, for tests that kill it: ``python -m tests.integration.middle_server.serving``.

The database is migrated already.
``--hold PATH`` keeps the answers of that path back, after the work is done and committed: the moment between claim and answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from middle_server.app import create_app
from tests.fakes.chain import HttpChain
from tests.integration.middle_server.room import settings


def hold(app: ASGIApp, path: str) -> ASGIApp:
    """Say on stdout that an answer is ready, and never send it."""

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        async def keep(message: Message) -> None:
            if scope.get("path") == path:
                print("holding", flush=True)
                await asyncio.sleep(3600)
            await send(message)

        await app(scope, receive, keep)

    return held


async def main() -> None:
    """Serve on any port and say which."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--chain", required=True)
    parser.add_argument("--hold", default="")
    given = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    app = hold(create_app(settings(given.database), HttpChain(given.chain)), given.hold)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
