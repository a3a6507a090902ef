"""Connections to model servers: opened when none is free, kept for a while when they are.

There is no bound on their number here: the client has one on calls in flight. Addresses are looked up once for all that ask
at the same time, and tried the way browsers do (``aiohappyeyeballs``). A proxy is one that the operator named: plain requests
are given to it, TLS goes through a tunnel of its.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohappyeyeballs

from orca_agent.models.base import error_for, excerpt
from orca_agent.models.connection import Connection, Response
from orca_protocol.errors import InvalidError, UnavailableError

#: a free connection that nobody wanted for so long is closed, before the server closes it under a request
KEPT_SECONDS = 15.0
_LOOKED_UP_SECONDS = 10.0
#: before the next address of a name is tried beside the one that does not answer
_NEXT_ADDRESS_SECONDS = 0.25
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a connection leads to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> tuple[Origin, str]:
        """Return the origin and the path of ``url``, in the letters that HTTP allows.

        Raises ValueError where it is no ``http(s)://host[:port][/path]``, without user, query or fragment.
        """
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in _PORTS or not host or port == 0 or "@" in parts.netloc or "?" in url or "#" in url:
            raise ValueError("not a base URL")
        if ":" not in host:
            host = host.encode("idna").decode()
        if not all("!" <= letter <= "~" for letter in host):
            raise ValueError("not a host name")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme]), quote(parts.path, safe="/%:@!$&'()*+,;=~")

    @property
    def bracketed(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """Host and port as ``Host`` names them."""
        return self.bracketed if self.port == _PORTS[self.scheme] else f"{self.bracketed}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the header that lets us use it."""

    origin: Origin
    authorisation: str = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Raises InvalidError ``bad_proxy``; the detail does not repeat the URL, which may hold a password."""
        try:
            parts = urlsplit(url)
            user, _, place = parts.netloc.rpartition("@")
            origin, path = Origin.of(f"{parts.scheme}://{place}{parts.path}")
            if origin.scheme != "http" or path not in {"", "/"} or parts.query or parts.fragment:
                raise ValueError("not a proxy")
        except ValueError as error:
            raise InvalidError("bad_proxy", "the proxy must be http://[user:password@]host[:port]") from error
        token = base64.b64encode(unquote(user).encode()).decode()
        return cls(origin, f"Proxy-Authorization: Basic {token}\r\n" if user else "")


class Pool:
    """The connections of one client, within one event loop."""

    def __init__(self, *, connect: float, proxy: Proxy | None) -> None:
        self._connect = connect
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._free: dict[Origin, list[Connection]] = {}
        self._lookups: dict[Origin, asyncio.Task[list[Any]]] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def free(self, origin: Origin) -> Connection | None:
        """Return the connection to ``origin`` that was given back last, if there is one."""
        free = self._free.get(origin)
        while free:
            connection = free.pop()
            if connection.is_usable:
                return connection
        return None

    async def open(self, origin: Origin, label: str) -> Connection:
        """Return a new connection to ``origin``.

        Raises UnavailableError ``connect_timeout``, ``connect_failed`` or ``tls_failed``; what a proxy's refusal means.
        """
        try:
            async with asyncio.timeout(self._connect):
                return await self._opened(origin, label)
        except TimeoutError as error:
            raise UnavailableError("connect_timeout", f"{label} did not accept a connection in time") from error
        except ssl.SSLError as error:
            raise UnavailableError("tls_failed", f"no trusted TLS connection to {label}: {excerpt(str(error))}") from error
        except (OSError, UnicodeError) as error:
            raise UnavailableError("connect_failed", f"no connection to {label}: {excerpt(str(error))}") from error

    def close(self) -> None:
        """Close those that are free."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for free in self._free.values():
            for connection in free:
                connection.abort()
        self._free.clear()

    async def _opened(self, origin: Origin, label: str) -> Connection:
        connection = Connection(lambda freed: self._give_back(origin, freed))
        tls = self._context() if origin.scheme == "https" else None
        if self._proxy is None:
            await self._connected(origin, connection, tls)
        elif tls is None:
            await self._connected(self._proxy.origin, connection, None)
        else:
            await self._tunnelled(origin, connection, tls, self._proxy, label)
        return connection

    async def _connected(self, origin: Origin, connection: Connection, tls: ssl.SSLContext | None) -> None:
        addresses = await self._addresses(origin)
        reached = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
        try:
            name = None if tls is None else origin.host
            await self._loop.create_connection(lambda: connection, sock=reached, ssl=tls, server_hostname=name)
        except BaseException:
            reached.close()
            raise

    async def _tunnelled(self, origin: Origin, connection: Connection, tls: ssl.SSLContext, proxy: Proxy, label: str) -> None:
        tunnel = Connection(lambda freed: None)
        await self._connected(proxy.origin, tunnel, None)
        answer = Response(f"the proxy of {label}", read=self._connect, total=self._connect)
        place = f"{origin.bracketed}:{origin.port}"
        try:
            tunnel.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proxy.authorisation}\r\n".encode(), answer)
            if (status := await answer.head()) != 200:
                raise error_for(status, "", f"the proxy of {label}")
            answer.complete()
            transport = await self._loop.start_tls(tunnel.transport, connection, tls, server_hostname=origin.host)
            if transport is None:
                raise ConnectionError("the proxy closed its tunnel")
            connection.connection_made(transport)
        except BaseException:
            tunnel.abort()
            raise
        finally:
            answer.close()

    async def _addresses(self, origin: Origin) -> list[Any]:
        """Look ``origin`` up, once for all who ask meanwhile and for some seconds more."""
        lookup = self._lookups.get(origin)
        if lookup is None:
            lookup = self._loop.create_task(self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))
            self._lookups[origin] = lookup
            lookup.add_done_callback(lambda done: self._forget(origin, done))
        return await asyncio.shield(lookup)

    def _forget(self, origin: Origin, done: asyncio.Task[list[Any]]) -> None:
        if done.cancelled() or done.exception() is not None:
            del self._lookups[origin]
        else:
            self._loop.call_later(_LOOKED_UP_SECONDS, self._lookups.pop, origin, None)

    def _context(self) -> ssl.SSLContext:
        """Made once: reading the certificates of all authorities takes some milliseconds."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _give_back(self, origin: Origin, connection: Connection) -> None:
        self._free.setdefault(origin, []).append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEPT_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody wanted for too long."""
        self._sweeping = None
        oldest = self._loop.time() - KEPT_SECONDS
        for free in self._free.values():
            for connection in free:
                if connection.free_since <= oldest:
                    connection.abort()
            free[:] = [connection for connection in free if connection.is_usable]
        if any(self._free.values()):
            self._sweeping = self._loop.call_later(KEPT_SECONDS / 3, self._sweep)
