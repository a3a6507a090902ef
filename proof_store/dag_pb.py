"""dag-pb, the block format of UnixFS: named links to other blocks, and some bytes.

Written and read after the IPLD specification (ipld.io/specs/codecs/dag-pb), narrowed to the one spelling that Kubo,
js-ipfs and Helia produce: links before data, sorted by the bytes of their names, and Hash, Name and Tsize
all present in each. So ``encode(decode(block)) == block`` for every block that ``decode`` accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orca_protocol.errors import InvalidError
from proof_store.cid import Cid
from proof_store.wire import BYTES, VARINT, FieldReader, encode_field

CODE = "dag_pb_malformed"
MAX_LINKS = 1_000  # the contract's entries in a directory; a file node has at most 174

_HASH, _NAME, _TSIZE = 1, 2, 3
_DATA, _LINKS = 1, 2


@dataclass(frozen=True, slots=True)
class PBLink:
    """A link: the block, its name (empty inside a file), and the bytes of all blocks reached through it."""

    cid: Cid
    name: str
    tsize: int


@dataclass(frozen=True, slots=True)
class PBNode:
    """A node: its links, and ``data``, whose absence and emptiness are two things on the wire."""

    links: tuple[PBLink, ...] = ()
    data: bytes | None = None


def encode(node: PBNode) -> bytes:
    """Return the block of ``node``; links are put in order by name, links of one name keep theirs."""
    links = sorted(node.links, key=_sort_key)
    block = b"".join(encode_field(_LINKS, _encode_link(link)) for link in links)
    return block if node.data is None else block + encode_field(_DATA, node.data)


def decode(block: bytes, *, max_links: int = MAX_LINKS) -> PBNode:
    """Read a stranger's block. Raises InvalidError ``dag_pb_malformed`` for any but the canonical spelling."""
    reader = FieldReader(block, code=CODE, what="dag-pb block")
    links = tuple(_read_links(reader, max_links))
    data = reader.bytes() if reader.next_is(_DATA, BYTES) else None
    reader.finish()
    return PBNode(links, data)


def _read_links(reader: FieldReader, max_links: int) -> Iterator[PBLink]:
    count, previous = 0, b""
    while reader.next_is(_LINKS, BYTES):
        count += 1
        if count > max_links:
            raise reader.error(f"more than {max_links} links")
        link = _decode_link(reader.bytes())
        if _sort_key(link) < previous:
            raise reader.error(f"the link {link.name[:80]!r} is out of order")
        previous = _sort_key(link)
        yield link


def _encode_link(link: PBLink) -> bytes:
    return encode_field(_HASH, link.cid.to_bytes()) + encode_field(_NAME, link.name.encode()) + encode_field(_TSIZE, link.tsize)


def _decode_link(data: bytes) -> PBLink:
    reader = FieldReader(data, code=CODE, what="dag-pb link")
    reader.expect(_HASH, BYTES, "Hash")
    cid = _read_cid(reader.bytes(), reader)
    reader.expect(_NAME, BYTES, "Name")
    try:
        name = reader.bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidError(CODE, f"dag-pb link: its name is not UTF-8 at byte {error.start}") from error
    reader.expect(_TSIZE, VARINT, "Tsize")
    tsize = reader.varint()
    reader.finish()
    return PBLink(cid, name, tsize)


def _read_cid(data: bytes, reader: FieldReader) -> Cid:
    cid = Cid.from_bytes(data)
    if cid.to_bytes() != data:  # version 0: the same child would have two names, and the parent two hashes
        raise reader.error("a CID of version 0 in a link")
    return cid


def _sort_key(link: PBLink) -> bytes:
    return link.name.encode("utf-8")
