"""Which addresses belong to the open internet, and how a name is looked up.

Who connects to where a stranger's URL leads must not be led to his own network. The name is looked up once, every address it has
is judged, and the connection goes to a judged address: a name that answers otherwise a moment later changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final

#: looks a host up: (host, port) to the addresses as text; raises OSError
Resolver = Callable[[str, int], Awaitable[list[str]]]

#: what the interpreter's own tables call global, in one version or another, and is not the open internet: protocol assignments,
#: documentation, and IPv6 that stands for IPv4 elsewhere (6to4, Teredo, the translation prefixes of RFC 6052 and RFC 8215)
_RESERVED: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",
            "192.88.99.0/24",
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
        ),
    )
)


async def system_addresses(host: str, port: int) -> list[str]:
    """Look ``host`` up as this machine does, in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(text: str) -> bool:
    """Say whether an address belongs to the open internet: not private, loopback, link-local, multicast, reserved or translated."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.scope_id is not None or address.is_site_local:
            return False
    if any(address in network for network in _RESERVED):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
