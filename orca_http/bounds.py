"""What one request may cost: bytes read and time taken. And one line in the log for each, without anything that was sent.

A handler whose answer lasts as long as something else does (a stream, a wait) takes the clock over with ``own_time`` and
then keeps limits of its own. Nothing that a client sends can do that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orca_http.problems import Problems
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

_CLOCK = "orca_http.clock"


class Bounds:
    """ASGI middleware around everything else; ``log`` names the surface's access log, ``on_status`` is told each status."""

    def __init__(
        self,
        app: ASGIApp,
        problems: Problems,
        *,
        body_bytes: int,
        seconds: float,
        log: str,
        on_status: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._on_status = on_status
        self._app = app
        self._problems = problems
        self._bytes = body_bytes
        self._seconds = seconds
        self._log = logging.getLogger(log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within its bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = _Answering(send, self._problems)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds) as clock:
                bounded = {**scope, _CLOCK: clock}
                await self._app(bounded, _Counted(scope, receive, self._bytes).receive, answering.send)
        except TimeoutError:
            late = UnavailableError("request_timeout", f"the request was not answered within {self._seconds:g} s; try again")
            await answering.instead(late, scope, receive)
        finally:
            # The path could be anything that a stranger wrote: it is quoted, and short.
            path = repr(scope["path"])[:200]
            if answering.status is not None:
                self._on_status(answering.status)
            self._log.info("%s %s %s %.1f ms", scope["method"], path, answering.status or "-", (time.monotonic() - started) * 1000)


def own_time(scope: Scope) -> None:
    """Lift the limit on time from this request, which its handler bounds itself from now on."""
    clock = scope.get(_CLOCK)
    if isinstance(clock, asyncio.Timeout):
        clock.reschedule(None)


class _Counted:
    """Counts what is received."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._got = 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        self._too_long = announced.isdigit() and int(announced[:20]) > limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._got += len(message.get("body", b""))
        if self._too_long or self._got > self._limit:
            raise InvalidError("body_oversize", f"at most {self._limit} bytes are read")
        return message


class _Answering:
    """Knows whether an answer has begun."""

    def __init__(self, send: Send, problems: Problems) -> None:
        self._send = send
        self._problems = problems
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def instead(self, error: OrcaError, scope: Scope, receive: Receive) -> None:
        """Answer with the error, unless another answer is on its way already: then the connection breaks off."""
        if self.status is not None:
            raise error
        await self._problems.response(error)(scope, receive, self.send)
