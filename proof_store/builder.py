"""Files and directories into blocks: the same bytes give the same CID on every node, and in Kubo.

A file is read chunk by chunk and its inner nodes are made as soon as they are full, so memory holds one chunk and
one unfinished node a level, whatever the size of the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from orca_protocol.errors import InvalidError
from proof_store import dag_pb
from proof_store.base import BlockStore, MemoryBlocks
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.disk import reading
from proof_store.names import Branch, tree_of
from proof_store.unixfs import MAX_DIRECTORY_BYTES, MAX_DIRECTORY_ENTRIES, PROTOCOL_LAYOUT, Kind, Layout, NodeData, encode_data


class Readable(Protocol):
    """A stream that is read once, from where it stands to its end."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Built:
    """A finished subtree: its root, the bytes of content in it, and the bytes of all its blocks (what a link calls Tsize)."""

    cid: Cid
    size: int
    tsize: int


def build_file(content: bytes | Readable, blocks: BlockStore, layout: Layout = PROTOCOL_LAYOUT) -> Built:
    """Store a file and return its root. A file of one chunk, or of none, is just its raw block.

    Raises UnavailableError ``storage_failed`` when the stream cannot be read, and what ``blocks.put`` raises.
    """
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    levels: list[list[Built]] = [[]]
    for chunk in _chunks(source, layout.chunk_bytes):
        levels[0].append(_put(blocks, RAW, chunk, size=len(chunk), below=0))
        _carry_full_levels(levels, blocks, layout)
    return _close(levels, blocks)


def build_directory(files: Mapping[str, bytes], blocks: BlockStore, layout: Layout = PROTOCOL_LAYOUT) -> Built:
    """Store files under '/'-separated names and return the root directory.

    Raises InvalidError ``name_invalid``, ``name_conflict`` or ``directory_oversize`` (more than 1,000 entries, or a block
    of 256 KiB), and what ``blocks.put`` raises.
    """
    return _build_branch(tree_of(files), blocks, layout)


def root_of(files: Mapping[str, bytes], layout: Layout = PROTOCOL_LAYOUT) -> Cid:
    """Return the CID that these files must have. An auditor compares it with the CID that was claimed: a tree that reads
    well but was cut or stacked in another way is then a second name for the same files, and shows. Raises as ``build_directory``.
    """
    return build_directory(files, _HashOnly(), layout).cid


def _chunks(source: Readable, size: int) -> Iterator[bytes]:
    """Yield full chunks and a shorter last one; an empty source is one empty chunk. A stream may answer short: ask again."""
    first = True
    while True:
        chunk = b""
        while len(chunk) < size:
            with reading("the file to be stored"):
                piece = source.read(size - len(chunk))
            if not piece:
                break
            chunk += piece
        if chunk or first:
            yield chunk
        if len(chunk) < size:
            return
        first = False


def _carry_full_levels(levels: list[list[Built]], blocks: BlockStore, layout: Layout) -> None:
    """Make nodes of full levels, like carrying digits. Every leaf so ends up at the same depth: the balanced layout."""
    level = 0
    while len(levels[level]) == layout.links_per_node:
        _carry(levels, level, blocks)
        level += 1


def _close(levels: list[list[Built]], blocks: BlockStore) -> Built:
    """Fold what is unfinished upwards until one root is left."""
    level = 0
    while level < len(levels) - 1 or len(levels[level]) > 1:
        if levels[level]:
            _carry(levels, level, blocks)
        level += 1
    return levels[level][0]


def _carry(levels: list[list[Built]], level: int, blocks: BlockStore) -> None:
    if level + 1 == len(levels):
        levels.append([])
    levels[level + 1].append(_build_file_node(levels[level], blocks))
    levels[level] = []


def _build_file_node(parts: list[Built], blocks: BlockStore) -> Built:
    data = NodeData(Kind.FILE, tuple(part.size for part in parts))
    links = tuple(PBLink(part.cid, "", part.tsize) for part in parts)
    return _put_node(blocks, PBNode(links, encode_data(data)), size=data.filesize)


def build_node(children: Mapping[str, Built], blocks: BlockStore) -> Built:
    """Store the directory of these children and return it. The caller has checked their names (``check_part``).

    Raises InvalidError ``directory_oversize``, and what ``blocks.put`` raises.
    """
    refuse_crowd(len(children))
    links = tuple(PBLink(child.cid, name, child.tsize) for name, child in children.items())
    size = sum(child.size for child in children.values())
    return _put_node(blocks, PBNode(links, encode_data(NodeData(Kind.DIRECTORY))), size=size)


def refuse_crowd(entries: int) -> None:
    """Raise InvalidError ``directory_oversize`` for more entries than a directory may have, before any of them is stored."""
    if entries > MAX_DIRECTORY_ENTRIES:
        raise InvalidError("directory_oversize", f"a folder has {entries} entries; at most {MAX_DIRECTORY_ENTRIES} fit")


def _build_branch(branch: Branch, blocks: BlockStore, layout: Layout) -> Built:
    refuse_crowd(len(branch))
    children: dict[str, Built] = {}
    for name, content in branch.items():
        if isinstance(content, bytes):
            children[name] = build_file(content, blocks, layout)
        else:
            children[name] = _build_branch(content, blocks, layout)
    return build_node(children, blocks)


def _put_node(blocks: BlockStore, node: PBNode, *, size: int) -> Built:
    block = dag_pb.encode(node)
    if len(block) >= MAX_DIRECTORY_BYTES:  # only a directory gets here: 174 links of a file take 9 KiB
        raise InvalidError("directory_oversize", f"a folder's names need a block of {len(block)} bytes; it must stay below 256 KiB")
    return _put(blocks, DAG_PB, block, size=size, below=sum(link.tsize for link in node.links))


def _put(blocks: BlockStore, codec: int, block: bytes, *, size: int, below: int) -> Built:
    cid = Cid.of(codec, block)
    blocks.put(cid, block)
    return Built(cid, size, len(block) + below)


class _HashOnly(MemoryBlocks):
    """A store that keeps nothing, for when only the CID is wanted."""

    def put(self, cid: Cid, block: bytes) -> None:
        """Forget the block."""
