"""UnixFS as the proof package uses it: the parameters, and the small message inside a dag-pb node.

Files have raw leaves and balanced inner nodes, directories are plain, nothing carries a mode or a time. Those are the
classic parameters of Kubo (``--cid-version=1 --raw-leaves --chunker=size-262144 --max-file-links=174``), named here because
newer profiles choose others: the parameters are part of the protocol, or the same bytes get two CIDs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from orca_protocol.errors import InvalidError
from proof_store.wire import BYTES, VARINT, FieldReader, encode_field

MAX_DIRECTORY_ENTRIES = 1_000
MAX_DIRECTORY_BYTES = 262_144  # a directory block is smaller than this; Kubo would start to shard near it

_TYPE, _FILESIZE, _BLOCKSIZES = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is cut and stacked. Only tests use other numbers than the protocol's."""

    chunk_bytes: int = 262_144
    links_per_node: int = 174

    def __post_init__(self) -> None:
        if self.chunk_bytes < 1 or self.links_per_node < 2:
            raise TypeError("a layout needs chunks of at least one byte and nodes of at least two links")


PROTOCOL_LAYOUT = Layout()


class Kind(IntEnum):
    """The node types of UnixFS that a package may contain."""

    DIRECTORY = 1
    FILE = 2


# Every other type is refused, by its own code where a user would meet it.
_REFUSED = {
    0: ("unixfs_unsupported", "a leaf wrapped in UnixFS; add files with raw leaves"),
    3: ("unixfs_unsupported", "a metadata node"),
    4: ("symlink_unsupported", "a symbolic link; a package holds files and directories only"),
    5: ("hamt_unsupported", "a sharded (HAMT) directory; a package's directories are plain"),
}


@dataclass(frozen=True, slots=True)
class NodeData:
    """What a dag-pb node says about itself; ``blocksizes`` are the content bytes behind each link of a file node."""

    kind: Kind
    blocksizes: tuple[int, ...] = ()

    @property
    def filesize(self) -> int:
        """The bytes of content below this node."""
        return sum(self.blocksizes)


def encode_data(data: NodeData) -> bytes:
    """Return the message as Kubo writes it: a directory is its type alone, a file adds its size and those of its parts."""
    message = encode_field(_TYPE, int(data.kind))
    if data.kind is Kind.FILE:
        message += encode_field(_FILESIZE, data.filesize)
        message += b"".join(encode_field(_BLOCKSIZES, size) for size in data.blocksizes)
    return message


def decode_data(message: bytes, *, links: int) -> NodeData:
    """Read the message of a node that has ``links`` links.

    Raises InvalidError ``unixfs_malformed``, ``size_mismatch`` (filesize is not the sum of its parts), or the code of a kind
    that packages do not contain: ``hamt_unsupported``, ``symlink_unsupported``, ``unixfs_unsupported``.
    """
    reader = FieldReader(message, code="unixfs_malformed", what="UnixFS node")
    kind = _read_kind(reader)
    data = NodeData(kind) if kind is Kind.DIRECTORY else _read_file(reader, links)
    _refuse_mode_and_time(reader)
    reader.finish()
    return data


def _read_kind(reader: FieldReader) -> Kind:
    reader.expect(_TYPE, VARINT, "Type")
    number = reader.varint()
    if number in _REFUSED:
        code, reason = _REFUSED[number]
        raise InvalidError(code, f"the node is {reason}")
    if number not in (Kind.DIRECTORY, Kind.FILE):
        raise reader.error(f"there is no node type {number}")
    return Kind(number)


def _read_file(reader: FieldReader, links: int) -> NodeData:
    if reader.next_is(2, BYTES):
        raise InvalidError("unixfs_unsupported", "a file node carries content itself; add files with raw leaves")
    reader.expect(_FILESIZE, VARINT, "filesize")
    filesize = reader.varint()
    sizes: list[int] = []
    while len(sizes) < links and reader.next_is(_BLOCKSIZES, VARINT):
        sizes.append(reader.varint())
    if len(sizes) != links or not links:
        raise reader.error(f"a file node with {links} links and {len(sizes)} blocksizes")
    if sum(sizes) != filesize:
        raise InvalidError("size_mismatch", f"a file node says {filesize} bytes and its parts are {sum(sizes)}")
    return NodeData(Kind.FILE, tuple(sizes))


def _refuse_mode_and_time(reader: FieldReader) -> None:
    if reader.next_is(7, VARINT) or reader.next_is(8, BYTES):
        raise InvalidError("unixfs_unsupported", "the node carries a mode or a time; a package's CID depends on content only")
