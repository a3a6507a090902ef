"""What a run tells, as server-sent events: kept alive, ended in order, and never waiting for a reader for ever.

``Stream`` holds the limits; what its frames look like is for its kinds to say. ``EventStream`` is a run's events as they are:
``id`` is the event's number, ``event`` its kind, ``data`` one line of JSON. A reader that comes again with ``Last-Event-ID``
misses nothing. A stream that reached the run's last event is complete; any other end means: come again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orca_agent.api.documents import rfc3339
from orca_agent.api.followers import Followers
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.services import Services
from orca_agent.api.waiting import leave, until_gone
from orca_agent.store.events import RunEvent
from orca_agent.work.queue import Stored
from orca_http.bounds import own_time
from orca_protocol.errors import LimitError, OrcaError, UnavailableError

_log = logging.getLogger(__name__)

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: how long a reader waits before it comes again, in milliseconds
_BEGIN = b"retry: 1000\n\n"
_ALIVE = b": alive\n\n"


class Stream(Response):
    """Frames about run ``run_id``. The answer begins with the first one: an error before that is an answer of its own."""

    media_type = "text/event-stream"

    def __init__(self, services: Services, followers: Followers, run_id: str) -> None:
        super().__init__(headers=_HEADERS, media_type=self.media_type)
        del self.headers["content-length"]
        self.services = services
        self.run_id = run_id
        self._settings = services.settings
        self._followers = followers
        self._has_begun = False

    def frames(self) -> AsyncGenerator[bytes]:
        """Yield what to send; nothing, about once a second, where there is nothing to send."""
        raise NotImplementedError

    def refused(self, error: OrcaError) -> Response:
        """Return the answer in place of a stream that did not begin."""
        return PROBLEMS.response(error)

    async def left(self) -> None:
        """Do what is to be done when the reader has gone before the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is and what comes, within this stream's own limits."""
        own_time(scope)
        gone = asyncio.create_task(until_gone(receive))
        try:
            with self._followers.one_more():
                if await self._sent(gone, send):
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False}, send)
                    return
            await self.left()
        except OrcaError as error:
            if self._has_begun:
                raise
            if isinstance(error, LimitError):  # there is no room to watch it in, so nobody does
                await self.left()
            await self.refused(error)(scope, receive, send)
        except TimeoutError:
            # Returning without the end of the answer breaks the connection off.
            _log.info("a reader of run %s took nothing for %s s and is cut off", self.run_id, self._settings.send_seconds)
            await self.left()
        finally:
            gone.cancel()

    async def _sent(self, gone: asyncio.Task[None], send: Send) -> bool:
        """Send every frame; False if the reader has gone before the end."""
        last = time.monotonic()
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                if gone.done():
                    return False
                now = time.monotonic()
                is_silent = self._has_begun and now - last >= self._settings.heartbeat_seconds
                if said := frame or (_ALIVE if is_silent else b""):
                    last = now
                    await self._begin(send)
                    await self._send({"type": "http.response.body", "body": said, "more_body": True}, send)
        await self._begin(send)
        return True

    async def _begin(self, send: Send) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": self.raw_headers}, send)

    async def _send(self, message: dict[str, object], send: Send) -> None:
        async with asyncio.timeout(self._settings.send_seconds):
            await send(message)


async def batches(services: Services, run_id: str, after: int = 0) -> AsyncGenerator[tuple[RunEvent, ...]]:
    """Yield a run's events from after number ``after``, until its last one, the service's end or a stream's time is over.

    Nothing, ``()``, about once a second of silence.
    """
    until = time.monotonic() + services.settings.stream_seconds
    async with aclosing(services.events.follow(run_id, after)) as following:
        async for batch in following:
            yield batch
            if time.monotonic() > until or services.stopping.is_set():
                return


class EventStream(Stream):
    """The answer to who follows a run from after event number ``after``."""

    def __init__(
        self, services: Services, followers: Followers, run_id: str, after: int, *, is_ended_by_leaving: bool = False
    ) -> None:
        super().__init__(services, followers, run_id)
        self._after = after
        self._is_ended_by_leaving = is_ended_by_leaving

    async def left(self) -> None:
        """End the run, if that was wanted."""
        if self._is_ended_by_leaving:
            await leave(self.services, [Stored(self.run_id, is_new=True)])

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield each event under its number."""
        yield _BEGIN
        try:
            async with aclosing(batches(self.services, self.run_id, self._after)) as following:
                async for batch in following:
                    yield b"".join(map(self._frame, batch))
        except UnavailableError as error:
            _log.warning("a reader of run %s has to come again: %s", self.run_id, error)

    def _frame(self, event: RunEvent) -> bytes:
        return f"id: {event.number}\nevent: {event.kind}\ndata: {data_of(self.run_id, event)}\n\n".encode()


def data_of(run_id: str, event: RunEvent) -> str:
    """Return what an event says, as one line of JSON."""
    data = f'{{"run":"{run_id}","number":{event.number},"at":"{rfc3339(event.at)}"'
    return data + ("}" if event.body == "{}" else f",{event.body[1:]}")
