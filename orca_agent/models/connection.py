"""One HTTP/1.1 connection to a model server, and the answer to the one request that may be under way on it.

llhttp (``httptools``) reads the bytes, strictly. What a server sends has a bound at every point: what is no body (heads,
trailers, chunk marks), what is held of a body that nobody has read yet, the silence between two reads, the time of it all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from orca_protocol.errors import OrcaError, UnavailableError

#: in one go; a body sets the count back
_NO_BODY_BYTES = 64 * 1024
#: of a body that is not read as fast as it comes; the rest stays in the network
_HELD_BYTES = 256 * 1024
_SWITCHING_PROTOCOLS = 101


class Response:
    """An answer as it comes in: first the status, then the body, whole or in chunks. One task reads it.

    All reading raises UnavailableError: ``timeout``, ``disconnected``, ``truncated_answer`` or ``malformed_http``.
    """

    __slots__ = (
        "_connection",
        "_ends",
        "_failure",
        "_heard",
        "_label",
        "_loop",
        "_parts",
        "_read",
        "_timer",
        "_waiter",
        "_wanted",
        "held",
        "is_complete",
        "retry_after",
        "status",
    )

    def __init__(self, label: str, *, read: float, total: float) -> None:
        self._label = label
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._ends = self._heard + total
        self._timer = self._loop.call_at(self._heard + min(read, total), self._look_at_the_clock)
        self._connection: Connection | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: OrcaError | None = None
        self._parts: list[bytes] = []
        #: how much of the body must be there before the reader is woken; 0 while it waits for the status
        self._wanted = 0
        self.held = 0
        self.status: int | None = None
        self.retry_after: str | None = None
        self.is_complete = False

    async def head(self) -> int:
        """Return the status."""
        while self.status is None:
            await self._news()
        return self.status

    async def body(self, limit: int) -> bytes:
        """Return the whole body; of one that is longer than ``limit`` some more bytes than that."""
        self._wanted = limit + 1
        while not self.is_complete and self.held <= limit:
            await self._news()
        return self._taken()

    async def chunk(self) -> bytes:
        """Return what has come of the body since the last time; nothing at its end."""
        self._wanted = 1
        while not self.is_complete and not self.held:
            await self._news()
        return self._taken()

    def close(self) -> None:
        """Want no more. If it is not complete its connection is closed: that is how a call is cancelled."""
        self._timer.cancel()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def close_after(self, seconds: float) -> None:
        """Want no more, but give the end of the answer a moment to come: then the connection can be used again."""
        if self._connection is None:
            return
        self._parts, self.held = [], 0
        self._connection.resume()
        self._ends = self._loop.time() + seconds
        self._timer.cancel()
        self._timer = self._loop.call_at(self._ends, self._look_at_the_clock)

    async def _news(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._connection is not None:
            self._connection.resume()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._failure is not None:
            raise self._failure

    def _taken(self) -> bytes:
        parts, self._parts, self.held = self._parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _look_at_the_clock(self) -> None:
        """Reads do not set a timer anew: they leave a mark, and the timer looks for it."""
        now = self._loop.time()
        if self._connection is not None and self._connection.is_paused:
            self._heard = now  # the silence is ours
        due = min(self._heard + self._read, self._ends)
        if now < due:
            self._timer = self._loop.call_at(due, self._look_at_the_clock)
        else:
            self.fail("timeout", "did not answer in time")

    # What the connection tells.

    def sent_on(self, connection: Connection) -> None:
        """The request is on its way."""
        self._connection = connection

    def heard(self) -> None:
        """Something came."""
        self._heard = self._loop.time()

    def add(self, data: bytes) -> None:
        """A piece of the body came."""
        self._parts.append(data)
        self.held += len(data)

    def complete(self) -> None:
        """All of it came; the connection is free."""
        self.is_complete = True
        self._connection = None
        self._timer.cancel()
        self.wake()

    def fail(self, code: str, said: str) -> None:
        """Nothing more will come of this; the connection is closed."""
        self._failure = self._failure or UnavailableError(code, f"{self._label} {said}")
        self.close()
        self.wake()

    def wake(self) -> None:
        """Wake the reader if what it waits for is there."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        has_what_is_wanted = self.status is not None and self.held >= self._wanted
        if has_what_is_wanted or self.is_complete or self._failure is not None:
            waiter.set_result(None)

    @property
    def is_full(self) -> bool:
        """Whether no more of the body should be read for now."""
        return self.held >= max(self._wanted, _HELD_BYTES)


class Connection(asyncio.Protocol):
    """``on_free`` is called with it after each answer that leaves it usable."""

    __slots__ = (
        "_ends_by_closing",
        "_has_length",
        "_keeps_alive",
        "_no_body",
        "_on_free",
        "_parser",
        "_response",
        "_transport",
        "free_since",
        "is_paused",
    )

    def __init__(self, on_free: Callable[[Connection], None]) -> None:
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._no_body = 0
        self._has_length = False
        self._ends_by_closing = False
        self._keeps_alive = False
        self.is_paused = False
        #: when it was given back, by the loop's clock
        self.free_since = 0.0

    @property
    def transport(self) -> asyncio.Transport:
        """What carries it; RuntimeError where nothing does."""
        if self._transport is None:
            raise RuntimeError("this connection is not open")
        return self._transport

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._transport is not None and not self._transport.is_closing() and self._response is None

    def send(self, request: bytes, response: Response) -> None:
        """Send a request whose answer goes to ``response``."""
        if self._response is not None:
            raise RuntimeError("a connection carries one request at a time")
        self._response = response
        self._no_body = 0
        response.sent_on(self)
        if self._transport is None or self._transport.is_closing():
            self._response = None
            response.fail("disconnected", "closed the connection without answering")
        else:
            self._transport.write(request)

    def abort(self) -> None:
        """Close at once."""
        self._response = None
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        """Read on, where reading was paused."""
        if self.is_paused:
            self.is_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Read what came; where nothing was asked, nothing should."""
        response = self._response
        if response is None:
            self.abort()
            return
        response.heard()
        self._no_body += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            response.fail("malformed_http", f"did not speak HTTP: {type(error).__name__}")
            return
        if self._no_body > _NO_BODY_BYTES:
            response.fail("malformed_http", f"did not speak HTTP: {self._no_body} bytes of headers")
            return
        if response.is_full and self._response is response and not self.is_paused:
            self.is_paused = True
            self.transport.pause_reading()
        response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what that means for the answer under way: its end, where it ends so."""
        self._transport = None
        response, self._response = self._response, None
        if response is None:
            return
        if response.status is None:
            response.fail("disconnected", "closed the connection without answering")
        elif self._ends_by_closing and exc is None:
            response.complete()
        else:
            response.fail("truncated_answer", "broke off in the middle of its answer")

    # What the parser tells.

    def on_message_begin(self) -> None:
        """An answer begins. A second one to the same request makes the connection worthless."""
        self._has_length = False
        if self._response is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few that matter."""
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._has_length = True
        elif name == b"retry-after" and self._response is not None:
            self._response.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep the status, unless it only says that the answer follows."""
        status = self._parser.get_status_code()
        if self._response is not None and (status >= 200 or status == _SWITCHING_PROTOCOLS):
            self._response.status = status
            self._keeps_alive = self._parser.should_keep_alive()
            self._ends_by_closing = not self._has_length

    def on_body(self, data: bytes) -> None:
        """Hand on a piece of the body."""
        self._no_body = 0
        if self._response is not None:
            self._response.add(data)

    def on_message_complete(self) -> None:
        """Give the connection back, if the server keeps it and has taken the whole request."""
        response = self._response
        if response is None or response.status is None:
            return
        self._response = None
        response.complete()
        self.resume()
        transport = self.transport
        if not self._keeps_alive or transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
            return
        self.free_since = asyncio.get_running_loop().time()
        self._on_free(self)
