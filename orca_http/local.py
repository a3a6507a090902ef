"""Keeps the pages of other sites away from a service that listens on loopback only.

A browser on this machine can reach loopback for any page it shows. By DNS rebinding a page's own name comes to stand for
127.0.0.1: the ``Host`` it sends then is not ours. Without that trick, a page can still send a simple request whose answer
it never sees: it carries an ``Origin`` that is not ours, or a body that is not called JSON.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from orca_http.problems import Problems
from orca_protocol.errors import InvalidError


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or an address of this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LocalOnly:
    """ASGI middleware: answers only who asked for this machine by one of its loopback names."""

    def __init__(self, app: ASGIApp, problems: Problems) -> None:
        self._app = app
        self._problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] in {"http", "websocket"}:
            try:
                _check({name.lower(): value.decode("latin-1") for name, value in scope["headers"]})
            except InvalidError as error:
                await self._problems.response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _check(headers: dict[bytes, str]) -> None:
    host = _host_of(f"//{headers.get(b'host', '')}")
    if not is_loopback(host):
        raise InvalidError(
            "host_foreign", "this service listens on loopback and answers only to localhost, 127.0.0.1 and [::1] in the Host header"
        )
    origin = headers.get(b"origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise InvalidError("origin_foreign", "pages of other sites may not use this service")


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
