"""A tree of blocks back into files, when the blocks come from a stranger.

Every block is hashed again, whatever the store promises. Sizes are declared three times over (Tsize, filesize, blocksizes);
all must agree, and they are compared with what is left of the limits before the next block is fetched. So a bomb is refused
at the node that announces it, or found out at the first node where it lied. A loop would need a block that contains its own
hash; a store that pretends so is caught by hashing.
"""

from __future__ import annotations

from dataclasses import dataclass

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store import dag_pb
from proof_store.base import BlockStore, checked
from proof_store.cid import CODECS, DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink
from proof_store.limits import Budget, ReadLimits
from proof_store.names import join_name
from proof_store.unixfs import MAX_DIRECTORY_BYTES, Kind, NodeData, decode_data

DEFAULT_LIMITS = ReadLimits()


def read_file(root: Cid, blocks: BlockStore, limits: ReadLimits = DEFAULT_LIMITS) -> bytes:
    """Return the content of the file ``root``.

    Raises what ``blocks.get`` raises; LimitError ``read_bytes``, ``read_depth``, ``read_links``, ``block_oversize``;
    InvalidError ``not_a_file``, ``size_mismatch``, ``block_corrupt``, ``codec_unsupported``, ``dag_pb_malformed``,
    ``unixfs_malformed``, ``unixfs_unsupported``, ``symlink_unsupported``, ``hamt_unsupported``, or a link's ``cid_…`` code.
    """
    reading = _Reading(blocks, limits)
    node = reading.fetch(root, 0, None)
    if node.kind is not Kind.FILE:
        raise InvalidError("not_a_file", f"{root} is a directory")
    return reading.content(node, 0)


def read_directory(root: Cid, blocks: BlockStore, limits: ReadLimits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Return every file below the directory ``root`` under its '/'-separated name.

    Raises as ``read_file`` does, and LimitError ``read_files``, InvalidError ``not_a_directory``, ``name_invalid``,
    ``name_conflict``, ``directory_oversize``, or ``directory_empty``: an empty folder inside would be lost in the answer, and
    a package has none.
    """
    reading = _Reading(blocks, limits)
    node = reading.fetch(root, 0, None)
    if node.kind is not Kind.DIRECTORY:
        raise InvalidError("not_a_directory", f"{root} is a file")
    files: dict[str, bytes] = {}
    reading.collect(node, 0, "", files)
    return files


def is_whole(root: Cid, blocks: BlockStore, limits: ReadLimits = DEFAULT_LIMITS) -> bool:
    """Whether ``blocks`` holds, sound, every block that a reader of ``root`` asks for; what those blocks say is for the reader."""
    try:
        read_directory(root, blocks, limits)
    except UnavailableError:
        return False
    except InvalidError as error:
        return error.code != "block_corrupt"
    except LimitError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Node:
    """A checked block: a raw leaf (``leaf`` is its content), a file node or a directory."""

    kind: Kind
    size: int
    leaf: bytes | None = None
    links: tuple[PBLink, ...] = ()
    blocksizes: tuple[int, ...] = ()


def open_block(cid: Cid, block: bytes, tsize: int | None, budget: Budget) -> Node:
    """Check all that can be said about a block alone, and against the Tsize its parent gave, and count it.

    The block's hash was checked already. Raises as ``read_file`` does.
    """
    budget.spend_bytes(len(block))
    if cid.codec == RAW:
        _compare("Tsize", tsize, len(block))
        return Node(Kind.FILE, len(block), leaf=block)
    if cid.codec != DAG_PB:
        raise InvalidError("codec_unsupported", f"{cid} is {CODECS[cid.codec]}; files and directories are raw or dag-pb")
    node = dag_pb.decode(block)
    below = sum(link.tsize for link in node.links)
    _compare("Tsize", tsize, len(block) + below)
    budget.spend_links(len(node.links))
    budget.foresee_bytes(below)
    if node.data is None:
        raise InvalidError("unixfs_malformed", "a dag-pb node without data says neither file nor directory")
    data = decode_data(node.data, links=len(node.links))
    _check_links(data, node.links, len(block))
    return Node(data.kind, data.filesize, links=node.links, blocksizes=data.blocksizes)


class _Reading:
    """One walk through one tree, with its budget."""

    def __init__(self, blocks: BlockStore, limits: ReadLimits) -> None:
        self._blocks = blocks
        self._budget = Budget(limits)

    def fetch(self, cid: Cid, depth: int, tsize: int | None) -> Node:
        """Fetch and open one block."""
        self._budget.check_depth(depth)
        block = checked(cid, self._blocks.get(cid), max_bytes=self._budget.limits.block_bytes)
        return open_block(cid, block, tsize, self._budget)

    def content(self, node: Node, depth: int) -> bytes:
        """Return the content of a file node."""
        parts: list[bytes] = []
        self._gather(node, depth, parts)
        return b"".join(parts)

    def collect(self, node: Node, depth: int, folder: str, files: dict[str, bytes]) -> None:
        """Add the files of a directory to ``files``."""
        for link in node.links:
            name = join_name(folder, link.name)
            child = self.fetch(link.cid, depth + 1, link.tsize)
            if child.kind is Kind.FILE:
                self._budget.spend_file()
                files[name] = self.content(child, depth + 1)
            elif child.links:
                self.collect(child, depth + 1, name, files)
            else:
                raise InvalidError("directory_empty", f"the folder {name!r} is empty; a package has files only")

    def _gather(self, node: Node, depth: int, parts: list[bytes]) -> None:
        if node.leaf is not None:
            parts.append(node.leaf)
        for link, size in zip(node.links, node.blocksizes, strict=True):
            child = self.fetch(link.cid, depth + 1, link.tsize)
            if child.kind is not Kind.FILE:
                raise InvalidError("unixfs_malformed", "a directory inside a file")
            _compare("blocksizes", size, child.size)
            self._gather(child, depth + 1, parts)


def _check_links(data: NodeData, links: tuple[PBLink, ...], block_bytes: int) -> None:
    """Names belong to directories, each once; and a directory stays plain below the size where Kubo shards."""
    if data.kind is Kind.FILE:
        if any(link.name for link in links):
            raise InvalidError("unixfs_malformed", "a part of a file has a name")
        return
    if block_bytes >= MAX_DIRECTORY_BYTES:
        raise InvalidError("directory_oversize", f"a directory block has {block_bytes} bytes; it must stay below 256 KiB")
    if len({link.name for link in links}) != len(links):
        raise InvalidError("name_conflict", "a directory has one name twice")


def _compare(what: str, declared: int | None, real: int) -> None:
    if declared is not None and declared != real:
        raise InvalidError("size_mismatch", f"{what} says {declared} bytes and there are {real}")
