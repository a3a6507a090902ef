"""Where a gateway is: its URL, and the addresses behind its name that may be connected to.

A URL may come from anyone, so a node must not be led by one to its own network. The name is looked up once, every address
it has is judged, and the connection goes to a judged address: a name that answers otherwise a moment later changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from orca_http.addresses import Resolver, is_public
from orca_protocol.errors import UnavailableError

_MAX_URL: Final = 2_048
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class GatewayUrl:
    """A gateway's base address, taken apart."""

    scheme: str
    host: str
    port: int
    base: str

    @property
    def label(self) -> str:
        """Host and port, for people, and as ``Host`` wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_gateway(url: str) -> GatewayUrl:
    """Read ``http(s)://host[:port][/base]``. Raises UnavailableError ``gateway_url``: a bad hint is no more than a missing one."""
    try:
        parts = urlsplit(url) if len(url) <= _MAX_URL and url.isascii() and url.isprintable() and " " not in url else None
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in _PORTS or not (parts.hostname or "").strip(".") or port == 0:
        raise UnavailableError("gateway_url", "is not http(s)://host[:port][/path]")
    if "@" in parts.netloc or "?" in url or "#" in url or "\\" in url or "%" in parts.netloc:
        raise UnavailableError("gateway_url", "has a user, query or fragment; a gateway is http(s)://host[:port][/path]")
    return GatewayUrl(parts.scheme, (parts.hostname or "").rstrip("."), port or _PORTS[parts.scheme], parts.path.rstrip("/"))


async def judged_addresses(url: GatewayUrl, resolve: Resolver, *, allow_private: bool) -> list[str]:
    """Return the addresses of ``url`` that may be connected to.

    Raises UnavailableError ``gateway_address`` when any of them is not public, ``gateway_unknown`` when there is none.
    """
    try:
        addresses = await resolve(url.host, url.port)
    except (OSError, UnicodeError) as error:
        raise UnavailableError("gateway_unknown", f"has no address: {str(error)[:100]}") from error
    if not addresses:
        raise UnavailableError("gateway_unknown", "has no address")
    for address in addresses:
        if not allow_private and not is_public(address):
            raise UnavailableError("gateway_address", f"is at {address[:60]}, which is not a public address")
    return addresses
