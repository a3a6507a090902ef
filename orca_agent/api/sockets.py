"""``WS /ws/{run}``: the events of a run over a WebSocket, for who wants no server-sent events. The same numbers, the same words.

Each message is one event, ``{"id", "event", "data"}`` as in the stream of events; ``{"event": "alive"}`` fills silence.
``?last_event_id=`` goes on after that number. A key comes in a header as elsewhere; a browser, which cannot set headers here,
offers the subprotocols ``orca.events`` and ``orca.key.`` followed by the key in base64url without padding: unlike an address,
they stand in no log. The answer names ``orca.events`` alone. What is wrong before that is an HTTP answer, a problem document.

    1000  the run's last event was sent             1001, 1012  this service stops, or an hour is over: come again
    1003  the reader sent something; it is to read  1013        the database does not answer: come again

A reader that takes nothing for a while is cut off without a word: what waits for it is bounded by the connection's own buffer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from orca_agent.api.followers import Followers
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.runs import visible
from orca_agent.api.services import Services
from orca_agent.api.streams import batches, data_of
from orca_agent.store.events import RunEvent
from orca_http.reading import api_key_of, place_of
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

_log = logging.getLogger(__name__)

PROTOCOL = "orca.events"
_KEY = "orca.key."
_ALIVE = json.dumps({"event": "alive"})

COMPLETE, COME_AGAIN, NOT_HEARD, NO_DATABASE = 1000, 1001, 1003, 1013


def routes(services: Services, followers: Followers) -> APIRouter:
    """Return the router of ``/ws``."""
    router = APIRouter()

    async def follow(socket: WebSocket, run_id: str) -> None:
        try:
            await services.gate.admit(socket, _key_of)
            after = await _place(services, socket, run_id)
            with followers.one_more():
                await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
                await _Reader(services, socket, run_id).serve(after)
        except OrcaError as error:
            await socket.send_denial_response(PROBLEMS.response(error))

    router.add_api_websocket_route("/ws/{run_id}", follow)
    return router


def _key_of(socket: HTTPConnection) -> str:
    """Return the key that came, in a header or as a subprotocol. Raises InvalidError ``credentials_…``."""
    offered = [name.removeprefix(_KEY) for name in socket.scope["subprotocols"] if name.startswith(_KEY)]
    if not offered:
        return api_key_of(socket)
    try:
        padded = offered[0] + "=" * (-len(offered[0]) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidError("credentials_unknown", f"the key after {_KEY} is base64url without padding") from error


async def _place(services: Services, socket: WebSocket, run_id: str) -> int:
    """Return the number after which the reader goes on. Raises as ``GET /v1/runs/{id}/events`` does."""
    after = place_of(socket, "last_event_id", what="the number of the last event you have seen")
    await visible(socket, services, run_id)
    extent = await services.events.extent(run_id)
    if extent.is_closed and after < extent.last and not await services.events.read(run_id, after, 1):
        raise InvalidError("events_forgotten", f"the events of run {run_id} were deleted; its output is kept")
    return after


class _Reader:
    """Somebody who follows a run."""

    def __init__(self, services: Services, socket: WebSocket, run_id: str) -> None:
        self._services = services
        self._settings = services.settings
        self._socket = socket
        self._run_id = run_id

    async def serve(self, after: int) -> None:
        """Send what there is and what comes; close in order, unless the reader was first or does not read."""
        heard = asyncio.create_task(self._socket.receive())
        try:
            code = await self._sent(after, heard)
            if self._socket.client_state is WebSocketState.CONNECTED:
                await self._bounded(self._socket.close(code))
        except TimeoutError:
            _log.info("a reader of run %s took nothing for %s s and is cut off", self._run_id, self._settings.send_seconds)
        except WebSocketDisconnect:
            return
        finally:
            heard.cancel()
            with suppress(asyncio.CancelledError, RuntimeError):
                await heard

    async def _sent(self, after: int, heard: asyncio.Task[object]) -> int:
        """Send the events; return the code to close with."""
        last = time.monotonic()
        try:
            async with aclosing(batches(self._services, self._run_id, after)) as following:
                async for batch in following:
                    if heard.done():
                        return NOT_HEARD
                    now = time.monotonic()
                    is_silent = not batch and now - last >= self._settings.heartbeat_seconds
                    for said in [_ALIVE] if is_silent else map(self._message, batch):
                        last = now
                        await self._bounded(self._socket.send_text(said))
                    after = batch[-1].number if batch else after
            extent = await self._services.events.extent(self._run_id)
        except UnavailableError as error:
            _log.warning("a reader of run %s has to come again: %s", self._run_id, error)
            return NO_DATABASE
        return COMPLETE if extent.is_closed and after >= extent.last else COME_AGAIN

    def _message(self, event: RunEvent) -> str:
        return f'{{"id":{event.number},"event":"{event.kind}","data":{data_of(self._run_id, event)}}}'

    async def _bounded(self, sending: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(self._settings.send_seconds):
            await sending
