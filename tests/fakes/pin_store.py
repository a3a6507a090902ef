"""A store that keeps trees in memory, and does what a test tells it to."""

from __future__ import annotations

from collections.abc import Sequence

from orca_protocol.errors import OrcaError, UnavailableError
from proof_store.base import BlockStore, MemoryBlocks, ReadBack
from proof_store.car import blocks_below
from proof_store.cid import Cid
from proof_store.readback import read_every_block


class FakePinStore:
    """``PinStore``. ``failure`` is raised by everything, ``refuses`` by ``pin`` alone, once for each error in it."""

    def __init__(self) -> None:
        self.blocks = MemoryBlocks()
        self.roots: list[Cid] = []
        self.failure: OrcaError | None = None
        self.refuses: list[OrcaError] = []
        self.closed = False

    async def pin(self, root: Cid, blocks: BlockStore) -> None:
        self._fail()
        if self.refuses:
            raise self.refuses.pop(0)
        for cid, block in blocks_below(root, blocks):
            self.blocks.put(cid, block)
        self.roots.append(root)

    async def unpin(self, roots: Sequence[Cid]) -> None:
        self._fail()
        self.roots = [root for root in self.roots if root not in roots]

    async def read_back(self, root: Cid) -> ReadBack:
        self._fail()
        if root not in self.roots:
            raise UnavailableError("pin_gone", f"{root} is not pinned")
        return await read_every_block(root, self._block, "memory")

    async def state(self) -> str:
        self._fail()
        return f"{len(self.roots)} trees"

    async def close(self) -> None:
        self.closed = True

    async def _block(self, cid: Cid) -> bytes:
        if cid not in self.blocks.blocks:
            raise UnavailableError("pin_gone", f"{cid} is not here")
        return self.blocks.blocks[cid]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
