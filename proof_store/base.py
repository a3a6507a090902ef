"""The ports of this room: a place that keeps blocks by their CID, and a place that keeps whole trees on request.

A store is trusted to keep, never to be right: whoever reads a block checks its hash, and ``checked`` is that check. And a
tree counts as kept when it was read back, not when a store said so. Stores differ in technology only; their table is in
``proof_store/__init__.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store.cid import Cid
from proof_store.limits import MAX_BLOCK_BYTES


class BlockStore(Protocol):
    """What the builder, the reader and the CAR writer ask of a store."""

    def get(self, cid: Cid) -> bytes:
        """Return the block.

        Raises UnavailableError ``block_missing``, InvalidError ``block_corrupt`` when the bytes kept are not those named,
        LimitError ``block_oversize`` when they are more than the store reads.
        """

    def put(self, cid: Cid, block: bytes) -> None:
        """Keep the block. Putting it again is no error. Raises as ``get`` does when ``block`` is not what ``cid`` names."""

    def has(self, cid: Cid) -> bool:
        """Say whether a block is kept under this name; only ``get`` says whether it is sound."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a store gave back of a tree: every block, each with the hash in its name. ``path`` is the way they came."""

    blocks: int
    size: int
    path: str


class PinStore(Protocol):
    """A place that keeps whole trees. What goes wrong is the OrcaError family: nothing here says anything of the worker."""

    async def pin(self, root: Cid, blocks: BlockStore) -> None:
        """Have the tree below ``root``, which ``blocks`` holds, kept. Doing it again is no error.

        Raises UnavailableError, with ``retry_after`` where the store is still at it.
        """

    async def unpin(self, roots: Sequence[Cid]) -> None:
        """Let trees go, but nothing of any other tree. What is not there is no error."""

    async def read_back(self, root: Cid) -> ReadBack:
        """Read every block of the tree by another way than it was written. Raises UnavailableError ``pin_gone``, or another."""

    async def state(self) -> str:
        """Ask it for real and return what it says of itself. Raises UnavailableError with the way out."""

    async def close(self) -> None:
        """Give connections back."""


def checked(cid: Cid, block: bytes, *, max_bytes: int = MAX_BLOCK_BYTES) -> bytes:
    """Return ``block`` if ``cid`` names it. Raises LimitError ``block_oversize`` or InvalidError ``block_corrupt``."""
    if len(block) > max_bytes:
        raise LimitError("block_oversize", f"block {cid} has more than {max_bytes} bytes")
    if Cid.of(cid.codec, block) != cid:
        raise InvalidError("block_corrupt", f"the {len(block)} bytes kept as {cid} have another hash")
    return block


def missing(cid: Cid, place: str) -> UnavailableError:
    """Return the error for a block that ``place`` does not have."""
    return UnavailableError("block_missing", f"block {cid} is not in {place}")


class MemoryBlocks:
    """Blocks in a dict: for a CAR that was just read, and for tests. Everything is gone with the object."""

    def __init__(self, *, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self._max_block_bytes = max_block_bytes

    def get(self, cid: Cid) -> bytes:
        """See BlockStore."""
        if cid not in self.blocks:
            raise missing(cid, "memory")
        return checked(cid, self.blocks[cid], max_bytes=self._max_block_bytes)

    def put(self, cid: Cid, block: bytes) -> None:
        """See BlockStore."""
        self.blocks[cid] = checked(cid, block, max_bytes=self._max_block_bytes)

    def has(self, cid: Cid) -> bool:
        """See BlockStore."""
        return cid in self.blocks
