"""What reading a tree asks for next, while its blocks are still on their way. Pure: whoever fetches hands the blocks in.

The walk opens blocks in the reader's order, with the reader's own checks and budget. So it stops where the reader will stop:
at a limit with the same LimitError, and at a node that no package has without an error, for the reader to name it.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from orca_protocol.errors import InvalidError, LimitError
from proof_store.base import MemoryBlocks
from proof_store.cid import RAW, Cid
from proof_store.limits import Budget, ReadLimits
from proof_store.reader import open_block


class TreeWalk:
    """One tree on its way in. ``blocks`` holds what was walked so far: blocks of this tree and no others."""

    def __init__(self, root: Cid, limits: ReadLimits) -> None:
        self.blocks = MemoryBlocks(max_block_bytes=limits.block_bytes)
        self._budget = Budget(limits)
        self._pending: list[tuple[Cid, int, int | None]] = [(root, 0, None)]

    @property
    def is_finished(self) -> bool:
        """Whether the reader will find every block that it asks for."""
        return not self._pending

    def advance(self, arrived: MutableMapping[Cid, bytes]) -> None:
        """Go on as far as ``arrived`` reaches, taking what is used out of it. Its blocks were checked against their CIDs.

        Raises LimitError ``block_oversize``, ``read_bytes``, ``read_depth`` or ``read_links``: this tree, whose root is the one
        asked for, is beyond the limits, whoever sent it.
        """
        kept, limits = self.blocks.blocks, self._budget.limits
        while self._pending:
            cid, depth, tsize = self._pending[-1]
            self._budget.check_depth(depth)
            if cid not in kept:
                size = tsize if cid.codec == RAW and tsize is not None else 0
                if max(size, len(arrived.get(cid, b""))) > limits.block_bytes:
                    raise LimitError("block_oversize", f"block {cid} has more than {limits.block_bytes} bytes")
                if cid not in arrived:
                    return
                kept[cid] = arrived.pop(cid)
            self._pending.pop()
            try:
                node = open_block(cid, kept[cid], tsize, self._budget)
            except InvalidError:
                self._pending.clear()  # the reader meets the same node, after the same blocks, and says what is wrong with it
                return
            self._pending.extend((link.cid, depth + 1, link.tsize) for link in reversed(node.links))

    def missing(self, count: int, arrived: MutableMapping[Cid, bytes]) -> list[Cid]:
        """Return up to ``count`` blocks that are asked for and neither walked nor arrived, the next one first."""
        wanted: dict[Cid, None] = {}
        for cid, _, _ in reversed(self._pending):
            if len(wanted) == count:
                break
            if cid not in self.blocks.blocks and cid not in arrived:
                wanted[cid] = None
        return list(wanted)
