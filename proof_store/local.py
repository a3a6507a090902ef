"""This node's own block store as a place that keeps trees: they are there already, and are read back as a peer reads them.

``read_back`` goes through the node's own gateway where it has one, so that it shows what peers will get, and else to the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from proof_store.base import BlockStore, ReadBack
from proof_store.blocks import DirectoryBlocks
from proof_store.car import blocks_below, links_of
from proof_store.cid import DAG_PB, Cid
from proof_store.limits import CarLimits
from proof_store.readback import DEFAULT_LIMITS, GatewayBlocks, read_every_block

#: a block that somebody put in the last hour stays, whatever it belonged to
_UNUSED_FOR: Final = 3600.0


class LocalStore:
    """``PinStore`` over the node's folder of blocks. ``gateway`` is where the node serves them, as reached from here."""

    def __init__(
        self,
        own: DirectoryBlocks,
        *,
        gateway: str | None = None,
        limits: CarLimits = DEFAULT_LIMITS,
        unused_for: float = _UNUSED_FOR,
    ) -> None:
        self._own = own
        self._limits = limits
        self._unused_for = unused_for
        self._gateway = None if gateway is None else GatewayBlocks(gateway, is_local=True)

    async def pin(self, root: Cid, blocks: BlockStore) -> None:
        """See PinStore. Raises what ``blocks`` and the folder raise."""
        await asyncio.to_thread(self._copy, root, blocks)

    async def unpin(self, roots: Sequence[Cid]) -> None:
        """See PinStore. A block stays if a block that stays leads to it, whoever put that one there."""
        await asyncio.to_thread(self._remove, roots)

    async def read_back(self, root: Cid) -> ReadBack:
        """See PinStore."""
        if self._gateway is not None:
            return await read_every_block(root, self._gateway.get, f"gateway {self._gateway.url}", self._limits)
        return await read_every_block(root, self._block, f"disk {self._own.path}", self._limits)

    async def state(self) -> str:
        """See PinStore."""
        if self._gateway is None:
            return f"{self._own.path}; read back from the disk"
        if not await self._gateway.answers():
            raise UnavailableError("gateway_failed", f"this node's own gateway at {self._gateway.url} does not answer from here")
        return f"{self._own.path}; read back by {self._gateway.url}"

    async def close(self) -> None:
        """See PinStore."""
        if self._gateway is not None:
            await self._gateway.close()

    async def _block(self, cid: Cid) -> bytes:
        try:
            return await asyncio.to_thread(self._own.get, cid)
        except OrcaError as error:
            if error.code in ("block_missing", "block_corrupt"):
                raise UnavailableError("pin_gone", error.detail) from error
            raise

    def _copy(self, root: Cid, blocks: BlockStore) -> None:
        for cid, block in blocks_below(root, blocks, self._limits):
            if blocks is not self._own:
                self._own.put(cid, block)

    def _remove(self, roots: Sequence[Cid]) -> None:
        """Delete what only ``roots`` lead to, children before parents, so that after a crash the rest is still found."""
        going = dict.fromkeys(self._below(roots))
        staying = [cid for cid in self._own.cids() if cid.codec == DAG_PB and cid not in going]
        while staying and going:
            for link in self._links(staying.pop()):
                if link in going:
                    del going[link]
                    if link.codec == DAG_PB:
                        staying.append(link)
        for cid in reversed(going):
            self._own.remove(cid, unused_for=self._unused_for)

    def _below(self, roots: Sequence[Cid]) -> Iterator[Cid]:
        """Yield what is below ``roots``, parents first; leaves are named and not read."""
        pending, seen = list(roots), set[Cid]()
        while pending:
            cid = pending.pop()
            if cid not in seen:
                seen.add(cid)
                yield cid
                pending.extend(self._links(cid))

    def _links(self, cid: Cid) -> list[Cid]:
        if cid.codec != DAG_PB:
            return []
        try:
            return links_of(cid, self._own.get(cid))
        except InvalidError:  # damaged, or no node that we can read: it leads nowhere
            return []
        except UnavailableError as error:
            if error.code == "block_missing":
                return []
            raise
