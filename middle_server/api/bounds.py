"""What one request may cost: bytes read and time taken. And one line in the log for each, without anything that was sent."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from middle_server.api.problems import problem_response
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

_log = logging.getLogger("middle_server.access")


class Bounds:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, seconds: float) -> None:
        self._app = app
        self._bytes = body_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within its bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = _Answering(send)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, _Counted(scope, receive, self._bytes).receive, answering.send)
        except TimeoutError:
            late = UnavailableError("request_timeout", f"the request was not answered within {self._seconds:g} s; try again")
            await answering.instead(late, scope, receive)
        finally:
            # The path could be anything that a stranger wrote: it is quoted, and short.
            path = repr(scope["path"])[:200]
            _log.info("%s %s %s %.1f ms", scope["method"], path, answering.status or "-", (time.monotonic() - started) * 1000)


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

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def instead(self, error: OrcaError, scope: Scope, receive: Receive) -> None:
        """Answer with the error, unless another answer is on its way already: then the connection breaks off."""
        if self.status is not None:
            raise error
        await problem_response(error)(scope, receive, self.send)
