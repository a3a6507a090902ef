"""Serves an application by uvicorn: listens, says where, and stops in order when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from orca_protocol.errors import InvalidError, UnavailableError

#: seconds that data may wait for a peer who does not read, before the kernel gives the connection up
_PEER_SECONDS = 60
_STOPPING_SECONDS = 5


def config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """Return how every application of ours is served."""
    settings: dict[str, Any] = {
        # ``bounds`` logs requests; uvicorn's own line would show whole addresses.
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # What a proxy says of the client is nothing that anything here depends on.
        "proxy_headers": False,
        "limit_concurrency": 512,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": 10,
        # Named, because uvicorn would take ``httptools`` where it is installed, which has no bound on the size of a head.
        "http": "h11",
        "h11_max_incomplete_event_size": 32 * 1024,
        # Readers of a WebSocket send nothing that is read: the least of everything.
        "ws": "websockets-sansio",
        "ws_max_size": 1024,
        "ws_per_message_deflate": False,
    }
    return uvicorn.Config(app, **{**settings, **more})


async def serve(app: ASGIApp, host: str, port: int, ready: Callable[[str], None], *, stopping: asyncio.Event) -> None:
    """Serve as ``serve_on`` does, on a socket of its own.

    Raises UnavailableError ``port_in_use``, ``address_unusable``; InvalidError ``port_forbidden``.
    """
    with contextlib.closing(listen(host, port)) as listening:
        await serve_on(listening, app, ready, stopping=stopping)


async def serve_on(listening: socket.socket, app: ASGIApp, ready: Callable[[str], None], *, stopping: asyncio.Event) -> None:
    """Serve until ``stopping`` is set; ``ready`` is called with the address once requests are answered.

    Requests under way get a few seconds to end. Signals are the caller's (``stop_on_signals``).
    """
    server = _Server(config(app, timeout_graceful_shutdown=_STOPPING_SECONDS))
    serving = asyncio.create_task(server.serve([listening]))
    up, told = asyncio.create_task(server.up.wait()), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            ready(address_of(listening))
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        up.cancel()
        told.cancel()
        server.should_exit = True
        await serving


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises as ``serve`` does."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UnavailableError("address_unusable", f"--host {host}: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it: one whose peer stopped reading does not stay for ever
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PEER_SECONDS * 1000)
        made.bind(address)
        made.listen(2048)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _explained(error, host, port) from error
    return made


def address_of(listening: socket.socket) -> str:
    """Return the address in the form a client writes it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def stop_on_signals(stopping: asyncio.Event) -> Iterator[None]:
    """Set ``stopping`` on SIGTERM and SIGINT for the length of the block."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """A server that says when it is up and leaves signals to its owner."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def _explained(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            "port_in_use", f"something listens on {host} port {port} already; stop it, or choose another --port"
        )
    if error.errno == errno.EACCES:
        return InvalidError("port_forbidden", f"port {port} needs more rights than this user has; choose one above 1023")
    return UnavailableError("address_unusable", f"{host} port {port} cannot be listened on: {error.strerror}")
