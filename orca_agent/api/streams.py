"""The events of one run as server-sent events: numbered, kept alive, ended in order, and never waiting for a reader for ever.

``id`` is the event's number, ``event`` its kind, ``data`` one line of JSON. A reader that comes again with ``Last-Event-ID``
misses nothing. A stream that reached the run's last event is complete; any other end means: come again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orca_agent.api.documents import rfc3339
from orca_agent.api.services import Services
from orca_agent.store.events import RunEvent
from orca_http.bounds import own_time
from orca_http.reading import one_of
from orca_protocol.errors import InvalidError, LimitError, UnavailableError

_log = logging.getLogger(__name__)

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: how long a reader waits before it comes again, in milliseconds
_BEGIN = b"retry: 1000\n\n"
_ALIVE = b": alive\n\n"


#: what becomes of a run whose caller goes away before its end
ON_DISCONNECT = ("cancel", "continue")


def on_disconnect(default: str) -> dict[str, Any]:
    """Return what a route says of the choice in the OpenAPI document."""
    return {"name": "on_disconnect", "in": "query", "schema": {**one_of(ON_DISCONNECT), "default": default}}


class Followers:
    """How many streams there are in this process."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._count = 0

    def admit(self) -> None:
        """Raise LimitError ``too_many_followers`` if there is no room."""
        if self._count >= self._at_most:
            raise LimitError("too_many_followers", f"{self._at_most} streams are open here; close some, or read GET /v1/runs/ID")

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream for the length of the block."""
        self.admit()
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class EventStream(Response):
    """The answer to who follows run ``run_id`` from after event number ``after``."""

    media_type = "text/event-stream"

    def __init__(
        self, services: Services, followers: Followers, run_id: str, after: int, *, is_ended_by_leaving: bool = False
    ) -> None:
        super().__init__(headers=_HEADERS, media_type=self.media_type)
        del self.headers["content-length"]
        self._services = services
        self._settings = services.settings
        self._followers = followers
        self._run_id = run_id
        self._after = after
        self._is_ended_by_leaving = is_ended_by_leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is and what comes, within this stream's own limits."""
        own_time(scope)
        gone = asyncio.create_task(until_gone(receive))
        try:
            with self._followers.one_more():
                await self._send({"type": "http.response.start", "status": 200, "headers": self.raw_headers}, send)
                async with aclosing(self._frames()) as frames:
                    async for frame in frames:
                        if gone.done():
                            await self._left()
                            return
                        if frame:
                            await self._send({"type": "http.response.body", "body": frame, "more_body": True}, send)
                await self._send({"type": "http.response.body", "body": b"", "more_body": False}, send)
        except TimeoutError:
            # Returning without the end of the answer breaks the connection off.
            _log.info("a reader of run %s took nothing for %s s and is cut off", self._run_id, self._settings.send_seconds)
            await self._left()
        finally:
            gone.cancel()

    async def _left(self) -> None:
        """The reader is gone: end the run, if that was wanted."""
        if not self._is_ended_by_leaving:
            return
        try:
            await self._services.queue.cancel(self._run_id)
        except InvalidError:
            return  # it has ended, or is being cancelled already

    async def _send(self, message: dict[str, object], send: Send) -> None:
        async with asyncio.timeout(self._settings.send_seconds):
            await send(message)

    async def _frames(self) -> AsyncGenerator[bytes]:
        """Yield what to send; nothing, about once a second, where there is nothing to send."""
        yield _BEGIN
        until = time.monotonic() + self._settings.stream_seconds
        sent = time.monotonic()
        try:
            async with aclosing(self._services.events.follow(self._run_id, self._after)) as following:
                async for batch in following:
                    now = time.monotonic()
                    if batch or now - sent >= self._settings.heartbeat_seconds:
                        sent = now
                        yield b"".join(map(self._frame, batch)) or _ALIVE
                    else:
                        yield b""
                    if now > until or self._services.stopping.is_set():
                        return
        except UnavailableError as error:
            _log.warning("a reader of run %s has to come again: %s", self._run_id, error)

    def _frame(self, event: RunEvent) -> bytes:
        data = f'{{"run":"{self._run_id}","number":{event.number},"at":"{rfc3339(event.at)}"'
        data += "}" if event.body == "{}" else f",{event.body[1:]}"
        return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n".encode()


async def until_gone(receive: Receive) -> None:
    """Return when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
