"""A tree by its CID from a list of gateways, none of which is trusted: the first complete and sound copy counts.

Each is asked for a CAR, and block by block where it has none. Blocks are hashed, so a gateway can only fail, never forge; and
what it fails at says nothing of whoever made the tree (docs/adr/0005). Only the tree itself, every block of it proven by hash
from the root down, can be beyond the limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from ssl import PROTOCOL_TLS_CLIENT, SSLContext

import httpx

from orca_http.addresses import Resolver, system_addresses
from orca_protocol.errors import UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.car_stream import MAX_HEADER_BYTES
from proof_store.cid import Cid
from proof_store.gateway_address import GatewayUrl, judged_addresses, parse_gateway
from proof_store.gateway_peer import NO_CAR, GatewayPeer, ReaderSettings
from proof_store.limits import ReadLimits
from proof_store.walk import TreeWalk

DEFAULT_LIMITS = ReadLimits()
_NO_TLS = SSLContext(PROTOCOL_TLS_CLIENT)  # trusts nobody, and is quick to make: for connections without TLS
_SECTION_BYTES = 64  # a block's length and CID in a CAR, and some room


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What happened with one gateway. ``path`` names the way to it when it was really asked."""

    label: str
    what: str
    path: str | None = None

    def __str__(self) -> str:
        return f"{self.label} {self.what}"


class GatewayReader:
    """Fetches trees. Holds no connection between fetches, so there is nothing to close."""

    def __init__(self, settings: ReaderSettings, *, resolve: Resolver = system_addresses, tls: SSLContext | None = None) -> None:
        self.settings = settings
        self._resolve = resolve
        self._given_tls = tls

    async def fetch(self, cid: Cid, gateways: Sequence[str], limits: ReadLimits = DEFAULT_LIMITS) -> MemoryBlocks:
        """Return the blocks of the tree ``cid``, for ``read_directory`` to read under the same limits.

        Every block that the reader asks for is there, and none else. Whether the tree is a sound package is the reader's to say:
        at a node that no package has, fetching ends, and the reader names that node.

        Raises LimitError with the reader's codes when the tree is beyond ``limits``; UnavailableError ``data_unavailable``, after
        every gateway was asked or the time was over, whose detail says what each did and over how many independent paths (two
        gateways on one host are one path, a name without an address is none). Nothing else, whatever the gateways do.
        """
        walk, outcomes = TreeWalk(cid, limits), list[_Outcome]()
        deadline = time.monotonic() + self.settings.seconds
        urls = list(dict.fromkeys(gateways))
        for url in urls[: self.settings.gateways]:
            outcome = await self._tried(url, cid, walk, limits, deadline)
            if outcome is None:
                return walk.blocks
            outcomes.append(outcome)
        raise UnavailableError("data_unavailable", _summary(cid, outcomes, len(urls) - self.settings.gateways))

    async def _tried(self, text: str, cid: Cid, walk: TreeWalk, limits: ReadLimits, deadline: float) -> _Outcome | None:
        """Ask one gateway for what is still missing. Return what went wrong, or None when the tree is complete."""
        label, path = ascii(text[:80]), None
        seconds = min(self.settings.gateway_seconds, deadline - time.monotonic())
        if seconds <= 0:
            return _Outcome(label, f"was not asked: the {self.settings.seconds:g} s were over")
        try:
            url = parse_gateway(text)
            label = url.label
            async with asyncio.timeout(seconds):
                addresses = await judged_addresses(url, self._resolve, allow_private=self.settings.allow_private)
                path = url.label if self.settings.allow_private else url.host  # a devnet is many ports of one host
                await self._received(url, addresses, cid, walk, limits)
        except TimeoutError:
            return _Outcome(label, f"did not give it in {seconds:.3g} s", path)
        except UnavailableError as error:
            return _Outcome(label, error.detail, path)
        return None

    async def _received(self, url: GatewayUrl, addresses: list[str], cid: Cid, walk: TreeWalk, limits: ReadLimits) -> None:
        tls = await asyncio.to_thread(lambda: self._tls) if url.scheme == "https" else _NO_TLS
        async with GatewayPeer(url, addresses, self.settings, tls) as peer:
            try:
                await _by_car(peer, cid, walk, limits)
            except UnavailableError as error:
                if error.code != NO_CAR:
                    raise
                await _by_block(peer, walk, self.settings.parallel)

    @cached_property
    def _tls(self) -> SSLContext:
        return self._given_tls or httpx.create_ssl_context(trust_env=False)


async def _by_car(peer: GatewayPeer, cid: Cid, walk: TreeWalk, limits: ReadLimits) -> None:
    """Walk a CAR while it comes. Blocks that the walk has not asked for yet are kept aside: order is the gateway's to choose."""
    arrived: dict[Cid, bytes] = {}
    max_bytes = limits.total_bytes + (limits.links + 1) * _SECTION_BYTES + MAX_HEADER_BYTES
    async with aclosing(peer.car(cid, max_bytes)) as sections:
        async for name, block in sections:
            if name not in walk.blocks.blocks:
                arrived[name] = block
            if len(arrived) > limits.links + 1:
                raise UnavailableError("gateway_oversize", "sent more blocks than a tree within the limits has")
            walk.advance(arrived)
            if walk.is_finished:
                return
    raise UnavailableError("gateway_truncated", f"sent a CAR without {walk.missing(1, arrived)[0]}")


async def _by_block(peer: GatewayPeer, walk: TreeWalk, parallel: int) -> None:
    """Ask for the blocks that the walk meets next, several at once, and never more than it will soon use."""
    arrived: dict[Cid, bytes] = {}
    while not walk.is_finished:
        wanted = walk.missing(max(1, parallel - len(arrived)), arrived)
        answers = await asyncio.gather(*map(peer.block, wanted), return_exceptions=True)
        for name, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            arrived[name] = answer
        walk.advance(arrived)


def _summary(cid: Cid, outcomes: list[_Outcome], left_out: int) -> str:
    paths = len({outcome.path for outcome in outcomes if outcome.path is not None})
    said = "; ".join(map(str, outcomes)) or "no gateway is named"
    if left_out > 0:
        said += f"; {left_out} more were not asked"
    remedy = "" if paths > 1 else "; name a gateway on another host before you conclude that it is gone"
    return f"{cid} came complete over none of {paths} independent path{'' if paths == 1 else 's'}: {said}{remedy}"
