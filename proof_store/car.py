"""CAR version 1: a whole tree of blocks in one file, to carry a proof by hand or to fetch it in one answer.

Written deterministically: the root, then depth first in link order, every block once. Read with every hash checked, one
block in memory at a time. A file has exactly one root, which must be in it; anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO

import libipld

from orca_protocol.errors import InvalidError, LimitError
from proof_store import dag_pb
from proof_store.base import BlockStore, checked
from proof_store.cid import BINARY_BYTES, CODECS, DAG_PB, RAW, V0_BYTES, Cid
from proof_store.disk import reading, writing
from proof_store.limits import DEEPEST, CarLimits
from proof_store.wire import MAX_VARINT_BYTES, encode_varint

DEFAULT_LIMITS = CarLimits()
MAX_PENDING = DEEPEST * dag_pb.MAX_LINKS  # links that wait at once, in a walk as deep as the readers go


def write_car(root: Cid, blocks: BlockStore, sink: BinaryIO, limits: CarLimits = DEFAULT_LIMITS) -> int:
    """Write the tree below ``root`` and return the bytes written.

    Raises what ``blocks.get`` raises, InvalidError ``codec_unsupported`` or a link's own code, LimitError ``car_bytes``
    or ``car_blocks``, UnavailableError ``storage_failed``. After an error the sink holds the beginning of a CAR; the caller
    discards it.
    """
    count = 0
    for piece in car_pieces(root, blocks_below(root, blocks, limits), limits):
        _write_all(sink, piece)
        count += len(piece)
    return count


def car_pieces(root: Cid, sections: Iterable[tuple[Cid, bytes]], limits: CarLimits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Yield a CAR piece by piece: the header that names ``root``, then one piece for each block of ``sections``.

    Raises LimitError ``car_bytes`` or ``car_blocks`` in place of the piece that would be too much.
    """
    written = 0
    for number, piece in enumerate(chain((header_of(root.to_bytes()),), (section_of(cid, block) for cid, block in sections))):
        if number > limits.blocks:
            raise LimitError("car_blocks", f"the tree has more than {limits.blocks} blocks")
        written += len(piece)
        if written > limits.total_bytes:
            raise LimitError("car_bytes", f"the CAR would have more than {limits.total_bytes} bytes")
        yield piece


def blocks_below(
    root: Cid, blocks: BlockStore, limits: CarLimits = DEFAULT_LIMITS, *, repeated: bool = False
) -> Iterator[tuple[Cid, bytes]]:
    """Yield the checked blocks of the tree below ``root``, depth first in link order, one in memory at a time.

    Each comes once, or ``repeated`` as often as the walk meets it. Raises what ``blocks.get`` raises, InvalidError
    ``codec_unsupported`` or a link's own code, LimitError ``car_links`` when too many links wait to be followed.
    """
    pending, seen = [root], set[Cid]()
    while pending:
        cid = pending.pop()
        if cid in seen:
            continue
        block = checked(cid, blocks.get(cid), max_bytes=limits.block_bytes)
        if not repeated:
            seen.add(cid)
        pending.extend(reversed(links_of(cid, block)))
        if len(pending) > MAX_PENDING:
            raise LimitError("car_links", f"more than {MAX_PENDING} links wait to be followed below {root}")
        yield cid, block


def header_of(root: bytes) -> bytes:
    """Return the beginning of a CAR whose one root is the binary CID ``root``."""
    header = libipld.encode_dag_cbor({"roots": [root], "version": 1})
    return encode_varint(len(header)) + header


def section_of(cid: Cid, block: bytes) -> bytes:
    """Return a block as it stands in a CAR."""
    return encode_varint(BINARY_BYTES + len(block)) + cid.to_bytes() + block


def read_car(source: BinaryIO, into: BlockStore, limits: CarLimits = DEFAULT_LIMITS) -> Cid:
    """Put every block of a stranger's CAR into ``into`` and return its root.

    The blocks are what their names say; that they form a tree is for ``read_directory`` to find. Raises InvalidError
    ``car_malformed``, ``car_unsupported`` (another version, or not exactly one root), ``block_corrupt`` or a ``cid_…`` code,
    LimitError ``car_bytes``, ``car_header``, ``car_blocks`` or ``block_oversize``, UnavailableError ``storage_failed``, and
    what ``into.put`` raises.
    """
    car = _Source(source, limits.total_bytes)
    root = _read_header(car, limits)
    count, has_root = 0, False
    while (length := car.varint()) is not None:
        count += 1
        if count > limits.blocks:
            raise LimitError("car_blocks", f"the CAR has more than {limits.blocks} blocks")
        cid, block = _read_section(car, length, limits)
        into.put(cid, block)
        has_root = has_root or cid == root
    if not has_root:
        raise InvalidError("car_malformed", f"the CAR does not contain its own root {root}")
    return root


def links_of(cid: Cid, block: bytes) -> list[Cid]:
    """Return what a block of a proof's tree leads to. Raises InvalidError ``codec_unsupported`` or a link's own code."""
    if cid.codec == RAW:
        return []
    if cid.codec == DAG_PB:
        return [link.cid for link in dag_pb.decode(block).links]
    raise InvalidError("codec_unsupported", f"{cid} is {CODECS[cid.codec]}; a proof's tree is raw and dag-pb")


def _read_header(car: _Source, limits: CarLimits) -> Cid:
    length = car.varint()
    if length is None:
        raise InvalidError("car_malformed", "the CAR is empty")
    if length > limits.header_bytes:
        raise LimitError("car_header", f"the CAR's header has {length} bytes; at most {limits.header_bytes} are read")
    return _only_root(decode_header(car.take(length)))


def decode_header(header: bytes) -> dict[str, object]:
    """Return the map in a CAR's header, whatever version and roots it names. Raises InvalidError ``car_malformed``."""
    try:
        fields = libipld.decode_dag_cbor(header)
        same = libipld.encode_dag_cbor(fields) == header
    except (ValueError, RecursionError) as error:
        raise InvalidError("car_malformed", f"the CAR's header is not dag-cbor: {error}") from error
    # libipld gives links and byte strings both as bytes; encoding again tells them apart, and catches any second spelling.
    if not same or not isinstance(fields, dict) or type(fields.get("version")) is not int:
        raise InvalidError("car_malformed", "the CAR's header is not the canonical map of roots and version")
    return fields


def _only_root(fields: dict[str, object]) -> Cid:
    if fields["version"] != 1:
        raise InvalidError("car_unsupported", f"the CAR has version {fields['version']}; version 1 is read")
    roots = fields.get("roots")
    if set(fields) != {"roots", "version"} or not isinstance(roots, list) or not all(isinstance(root, bytes) for root in roots):
        raise InvalidError("car_malformed", "the CAR's header is not a map of roots (links) and version")
    if len(roots) != 1:
        raise InvalidError("car_unsupported", f"the CAR has {len(roots)} roots; a proof has exactly one")
    return Cid.from_bytes(roots[0])


def _read_section(car: _Source, length: int, limits: CarLimits) -> tuple[Cid, bytes]:
    if length < V0_BYTES:
        raise InvalidError("car_malformed", f"a section of {length} bytes has no room for a CID")
    if length > limits.block_bytes + BINARY_BYTES:
        raise LimitError("block_oversize", f"a section of the CAR has {length} bytes; blocks of {limits.block_bytes} are read")
    section = car.take(length)
    size = V0_BYTES if section[0] == 0x12 else BINARY_BYTES
    cid = Cid.from_bytes(section[:size])
    return cid, checked(cid, section[size:], max_bytes=limits.block_bytes)


class _Source:
    """A stream that is read exactly and counted; at its ceiling it still reads a length, and then stops."""

    def __init__(self, source: BinaryIO, total_bytes: int) -> None:
        self._source = source
        self._total_bytes = total_bytes
        self._count = 0

    def take(self, length: int) -> bytes:
        """Return exactly ``length`` bytes; what cannot fit is refused before it is read."""
        if self._count + length > self._total_bytes:
            raise LimitError("car_bytes", f"the CAR has more than {self._total_bytes} bytes")
        data = self._read(length)
        if len(data) < length:
            raise InvalidError("car_malformed", f"the CAR ends after {self._count} bytes; {length - len(data)} more were announced")
        return data

    def varint(self) -> int | None:
        """Return the next length, or None at the end of the file."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self._read(1)
            if not byte and not index:
                return None
            if not byte or (byte == b"\0" and index):
                raise InvalidError("car_malformed", f"the length at byte {self._count} is cut off or padded with zeros")
            value |= (byte[0] & 0x7F) << 7 * index
            if byte[0] < 0x80:
                return value
        raise InvalidError("car_malformed", f"the length at byte {self._count} needs more than 63 bits")

    def _read(self, length: int) -> bytes:
        """Return ``length`` bytes, or fewer at the end of the file. A stream may answer short: ask again."""
        data = b""
        while len(data) < length:
            with reading("the CAR"):
                piece = self._source.read(length - len(data))
            if not piece:
                break
            data += piece
        self._count += len(data)
        return data


def _write_all(sink: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    with writing("the CAR"):
        while rest:  # an unbuffered file may take less than it is given
            rest = rest[sink.write(rest) :]
