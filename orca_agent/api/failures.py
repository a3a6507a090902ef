"""How often each peer was refused lately: in this process's memory, for a bounded number of peers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from cachetools import TTLCache
from starlette.requests import HTTPConnection

from orca_protocol.errors import LimitError

_WINDOW = 60.0
_PEERS = 10_000


class Failures:
    """Counts refusals, each peer's over a minute from the first; beyond the bound on peers the least recent one is forgotten."""

    def __init__(self, at_most: int, *, peers: int = _PEERS, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_most = at_most
        self._clock = clock
        #: how many, and until when they count
        self._counts: TTLCache[str, list[float]] = TTLCache(peers, _WINDOW, timer=clock)

    def add(self, peer: str) -> None:
        """Count a refusal. Raises LimitError ``too_many_failures`` instead of letting it be told, if there were too many."""
        self.refuse(peer)
        counted = self._counts.get(peer)
        if counted is None:
            counted = self._counts[peer] = [0, self._clock() + _WINDOW]
        counted[0] += 1

    def refuse(self, peer: str) -> None:
        """Raise LimitError ``too_many_failures`` if this peer was refused too often."""
        counted = self._counts.get(peer)
        if counted is not None and counted[0] >= self._at_most:
            wait = max(1.0, counted[1] - self._clock())
            said = f"{self._at_most} requests from your address had no valid key; no more are looked at for {math.ceil(wait)} s"
            raise LimitError("too_many_failures", said, retry_after=wait)


def peer_of(request: HTTPConnection) -> str:
    """Return whom a request is counted for: an address, of IPv6 the network that one customer has."""
    host = "" if request.client is None else request.client.host
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped is not None else str(ip_network((address, 64), strict=False))
    return str(address)
