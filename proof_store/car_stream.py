"""A CAR while it arrives from a gateway: section by section, each hashed before it is handed on.

Looser than ``read_car`` where the IPFS Trustless Gateway specification leaves gateways free: which roots the header names, in
which order blocks come and how often, and what else is among them. What is wrong here is wrong with the sender, so every error
is UnavailableError; none is ever evidence about whoever made the tree.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.car import decode_header
from proof_store.cid import BINARY_BYTES, V0_BYTES, Cid
from proof_store.wire import MAX_VARINT_BYTES

MAX_HEADER_BYTES = 16_384  # a gateway may name several roots


async def car_sections(chunks: AsyncIterator[bytes], *, block_bytes: int) -> AsyncGenerator[tuple[Cid, bytes], None]:
    """Yield the blocks of a CAR, sound ones only. Sections under CIDs of other kinds than proofs use are passed over.

    Raises UnavailableError ``gateway_malformed``, ``gateway_truncated``, ``gateway_oversize`` (a block of more than
    ``block_bytes``) or ``gateway_lied`` (bytes under a CID that is not theirs), and what ``chunks`` raises.
    """
    arriving = _Arriving(chunks)
    await _pass_header(arriving)
    while (length := await arriving.length()) is not None:
        if length > block_bytes + BINARY_BYTES:
            raise UnavailableError("gateway_oversize", f"announced a block of {length} bytes; {block_bytes} are read")
        section = await arriving.take(length)
        size = V0_BYTES if section[:1] == b"\x12" else BINARY_BYTES
        try:
            cid = Cid.from_bytes(section[:size])
        except InvalidError:
            continue
        block = section[size:]
        if Cid.of(cid.codec, block) != cid:
            raise UnavailableError("gateway_lied", f"sent other bytes as {cid}")
        yield cid, block


async def _pass_header(arriving: _Arriving) -> None:
    length = await arriving.length()
    if length is None or not 0 < length <= MAX_HEADER_BYTES:
        raise UnavailableError("gateway_malformed", "did not send a CAR: it has no header, or one that is too long")
    try:
        version = decode_header(await arriving.take(length))["version"]
    except InvalidError as error:
        raise UnavailableError("gateway_malformed", f"did not send a CAR: {error.detail[:100]}") from error
    if version != 1:
        raise UnavailableError("gateway_malformed", "sent a CAR of another version than 1")


class _Arriving:
    """Chunks of any size, taken in pieces of a wanted size. Holds one piece and one chunk."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    async def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes."""
        if not await self._hold(count):
            raise UnavailableError("gateway_truncated", "sent a CAR that ends inside a block")
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    async def length(self) -> int | None:
        """Return the next unsigned varint, or None at the end."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            if not await self._hold(1):
                if index:
                    raise UnavailableError("gateway_truncated", "sent a CAR that ends inside a length")
                return None
            byte = self._held.pop(0)
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value
        raise UnavailableError("gateway_malformed", "sent a CAR with a length of more than 63 bits")

    async def _hold(self, count: int) -> bool:
        while len(self._held) < count:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return False
            self._held += chunk
        return True
