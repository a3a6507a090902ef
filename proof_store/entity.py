"""Which blocks prove one thing inside a tree: the blocks along a path, and the file, folder or byte range where it ends.

After the IPFS Trustless Gateway specification, "dag-scope" and "entity-bytes". Every block is checked when it is read; what
is read to decide is read again to be sent, so that no more than one block is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from orca_protocol.errors import InvalidError
from proof_store import dag_pb
from proof_store.base import BlockStore, checked
from proof_store.car import blocks_below
from proof_store.cid import CODECS, DAG_PB, RAW, Cid
from proof_store.dag_pb import PBNode
from proof_store.limits import CarLimits
from proof_store.unixfs import Kind, NodeData, decode_data


class Scope(Enum):
    """How much of what a path leads to is wanted."""

    BLOCK = "block"
    ENTITY = "entity"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """The bytes ``first`` to ``last`` of a file, both included; negative counts from its end, ``last`` None is its end."""

    first: int
    last: int | None

    def within(self, size: int) -> tuple[int, int]:
        """Return the span as (start, stop) in a file of ``size`` bytes, cut to it; an empty one has stop <= start.

        Raises InvalidError ``span_outside`` when no byte of the file could be meant.
        """
        start = self.first if self.first >= 0 else size + self.first
        stop = size if self.last is None else self.last + 1 if self.last >= 0 else size + self.last + 1
        if (start and start >= size) or stop < 0 or (stop == 0 and size):
            raise InvalidError("span_outside", f"entity-bytes lies outside of the file, which has {size} bytes")
        return max(start, 0), min(stop, size)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a path led: the blocks on the way, then the last one and what it says of itself."""

    above: tuple[Cid, ...]
    cid: Cid
    block_bytes: int
    node: PBNode | None
    data: NodeData | None

    @property
    def roots(self) -> tuple[Cid, ...]:
        """One CID for each segment of the path, the root first."""
        return (*self.above, self.cid)

    @property
    def declared_bytes(self) -> int:
        """The bytes of all blocks from here down, by the links' own words."""
        return self.block_bytes + sum(link.tsize for link in (self.node.links if self.node else ()))

    @property
    def size(self) -> int | None:
        """The bytes of content when this is a file, else None."""
        if self.cid.codec == RAW:
            return self.block_bytes
        return self.data.filesize if self.data and self.data.kind is Kind.FILE else None


def resolve(root: Cid, path: tuple[str, ...], blocks: BlockStore, limits: CarLimits, scope: Scope) -> Resolved:
    """Follow ``path`` from ``root`` through plain directories, reading the last block too.

    Raises what ``blocks.get`` raises; InvalidError ``path_absent`` when a segment is not there, ``codec_unsupported`` for a
    codec that is not followed, and the codes of ``dag_pb`` and ``unixfs`` for a node on the way that they refuse.
    """
    above: list[Cid] = []
    cid = root
    for part in path:
        block = checked(cid, blocks.get(cid), max_bytes=limits.block_bytes)
        above.append(cid)
        cid = _child(cid, block, part)
    block = checked(cid, blocks.get(cid), max_bytes=limits.block_bytes)
    if cid.codec != DAG_PB or scope is Scope.BLOCK:
        if cid.codec != RAW and scope is Scope.ALL:
            raise _not_followed(cid)
        return Resolved(tuple(above), cid, len(block), None, None)
    node = dag_pb.decode(block)
    return Resolved(tuple(above), cid, len(block), node, _unixfs(node) if scope is Scope.ENTITY else None)


def blocks_of(
    place: Resolved, scope: Scope, span: ByteSpan | None, blocks: BlockStore, limits: CarLimits, *, repeated: bool
) -> Iterator[tuple[Cid, bytes]]:
    """Yield the checked blocks of the path, then those of its end that ``scope`` and ``span`` name, depth first.

    ``repeated`` yields a block each time the walk meets it. Raises what ``blocks_below`` raises, InvalidError
    ``size_mismatch`` where a part of a file has another size than the node above it says.
    """
    for cid in place.above:
        yield cid, checked(cid, blocks.get(cid), max_bytes=limits.block_bytes)
    if scope is Scope.ALL or (scope is Scope.ENTITY and place.size is not None and span is None):
        yield from blocks_below(place.cid, blocks, limits, repeated=repeated)
        return
    if scope is Scope.ENTITY and span is not None and place.size is not None:
        start, stop = span.within(place.size)
        if start < stop:
            yield from _blocks_between(place, start, stop, blocks, limits, repeated=repeated)
            return
    yield place.cid, checked(place.cid, blocks.get(place.cid), max_bytes=limits.block_bytes)


def _blocks_between(
    place: Resolved, start: int, stop: int, blocks: BlockStore, limits: CarLimits, *, repeated: bool
) -> Iterator[tuple[Cid, bytes]]:
    """Yield the nodes and leaves of a file that hold the bytes from ``start`` up to ``stop``.

    Sizes are compared on the way down, so parts neither overlap nor overrun: at most two nodes a level are cut by the span's
    ends, and everything between them is met once.
    """
    pending: list[tuple[Cid, int, int]] = [(place.cid, 0, place.size or 0)]
    sent, whole = set[Cid](), set[Cid]()
    while pending:
        cid, offset, size = pending.pop()
        if cid in whole:
            continue
        block = checked(cid, blocks.get(cid), max_bytes=limits.block_bytes)
        node = None if cid.codec == RAW else _file_node(cid, block)
        real = len(block) if node is None else node[1].filesize
        if real != size:
            raise InvalidError("size_mismatch", f"{cid} holds {real} bytes of a file and the node above says {size}")
        if repeated or cid not in sent:
            yield cid, block
        if not repeated:
            sent.add(cid)
            if start <= offset and offset + size <= stop:
                whole.add(cid)
        if node is not None:
            pending.extend(reversed(list(_parts_between(*node, offset, start, stop))))


def _parts_between(node: PBNode, data: NodeData, offset: int, start: int, stop: int) -> Iterator[tuple[Cid, int, int]]:
    for link, size in zip(node.links, data.blocksizes, strict=True):
        if offset < stop and offset + size > start:
            yield link.cid, offset, size
        offset += size


def _file_node(cid: Cid, block: bytes) -> tuple[PBNode, NodeData]:
    if cid.codec != DAG_PB:
        raise _not_followed(cid)
    node = dag_pb.decode(block)
    data = _unixfs(node)
    if data is None or data.kind is not Kind.FILE:
        raise InvalidError("unixfs_malformed", f"{cid} is no part of a file")
    return node, data


def _child(cid: Cid, block: bytes, name: str) -> Cid:
    if cid.codec == RAW:
        raise InvalidError("path_absent", f"{cid} is a file; there is no {name[:80]!r} in it")
    if cid.codec != DAG_PB:
        raise _not_followed(cid)
    node = dag_pb.decode(block)
    data = _unixfs(node)
    if data is None or data.kind is not Kind.DIRECTORY:
        raise InvalidError("path_absent", f"{cid} is no directory; there is no {name[:80]!r} in it")
    for link in node.links:
        if link.name == name:
            return link.cid
    raise InvalidError("path_absent", f"there is no {name[:80]!r} in the directory {cid}")


def _unixfs(node: PBNode) -> NodeData | None:
    """Return what UnixFS says of a node, or None when it is not UnixFS at all."""
    if node.data is None:
        return None
    try:
        return decode_data(node.data, links=len(node.links))
    except InvalidError as error:
        if error.code == "unixfs_malformed":
            return None
        raise


def _not_followed(cid: Cid) -> InvalidError:
    return InvalidError(
        "codec_unsupported", f"{cid} is {CODECS[cid.codec]}, whose links are not followed here; ask for dag-scope=block"
    )
