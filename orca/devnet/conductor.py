"""Winds a devnet's clock on as fast as the rounds' work allows, and never while somebody still has something to do.

A slot is done when every living node has looked at it, says that it is busy with nothing, and the chain has taken nothing
new since they looked. The clock then goes to the next slot at which something may become due. ``may_go`` holds it, for
example until somebody has taken the work that was just posted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from koii_chain.client import ChainClient
from koii_chain.devnet import tools
from orca_protocol.errors import UnavailableError


class Speaking(Protocol):
    """A node that says what it does."""

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone: nobody waits for the dead."""

    async def status(self) -> dict[str, Any]:
        """Return its status document. Raises UnavailableError while it does not answer."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What a node said when it had nothing to do."""

    looks: int
    next_slot: int


def quiet_at(status: dict[str, Any], slot: int) -> Quiet | None:
    """Return what a status says if its node has looked at ``slot`` and has nothing to do there; else None."""
    looks, at, following = status.get("looks"), status.get("slot"), status.get("next_slot")
    if at != slot or status.get("busy") or type(looks) is not int or type(following) is not int:
        return None
    return Quiet(looks, following)


class Conductor:
    """Winds one devnet's clock on until it is cancelled."""

    def __init__(
        self,
        client: ChainClient,
        nodes: Callable[[], list[Speaking]],
        may_go: Callable[[], Awaitable[bool]],
        *,
        pause: float = 0.05,
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._may_go = may_go
        self._pause = pause
        #: what it waits for, for whoever asks why nothing happens
        self.waits_for = "the first look"

    async def serve(self) -> None:
        """Wind on, slot after slot; a chain that is away for a moment is waited for."""
        while True:
            try:
                await self._settled()
            except UnavailableError as error:
                self.waits_for = error.detail
            await asyncio.sleep(self._pause)

    async def _settled(self) -> None:
        before = await tools.info(self._client.rpc)
        first = await self._all_quiet(before.slot)
        if first is None or not await self._may_go():
            return
        # Everybody looks once more: what one of them did last may be something to do for another.
        while (second := await self._all_quiet(before.slot)) is None or any(
            second[name].looks <= first[name].looks for name in first.keys() & second.keys()
        ):
            if second is None:
                return
            await asyncio.sleep(self._pause)
        after = await tools.info(self._client.rpc)
        if (after.records, after.slot) != (before.records, before.slot):
            return
        following = min(quiet.next_slot for quiet in second.values())
        self.waits_for = "the nodes, at the next slot"
        await tools.advance(self._client.rpc, max(1, following - before.slot))

    async def _all_quiet(self, slot: int) -> dict[int, Quiet] | None:
        """Return what every living node said, if all of them are quiet."""
        found: dict[int, Quiet] = {}
        for place, node in enumerate(self._nodes()):
            if node.has_ended:
                continue
            try:
                status = await node.status()
            except UnavailableError as error:
                self.waits_for = error.detail
                return None
            quiet = quiet_at(status, slot)
            if quiet is None:
                busy = ", ".join(map(str, status.get("busy") or ())) or f"a look at slot {slot}"
                self.waits_for = f"{status.get('key', 'a node')}: {busy}"
                return None
            found[place] = quiet
        return found or None
