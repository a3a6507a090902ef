"""Content identifiers: the one name a block has.

A ``Cid`` here is always version 1 with a SHA-256 digest, because that is all the proof package uses (contract, section 5);
whatever else a stranger writes is refused with a code that says why. A text in another multibase, or of version 0,
is read and becomes the one canonical spelling (base32, lower case), so two ``Cid`` are equal exactly when they name
the same bytes under the same codec.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import libipld

from orca_protocol.errors import InvalidError

RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
CODECS = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}

MAX_TEXT = 512  # what fits on chain; the longest spelling (base2) of a CID has 289 characters
BINARY_BYTES = 36  # version, codec, hash and length are one byte each for everything accepted here
V0_BYTES = 34
_SHA2_256 = b"\x12\x20"  # multihash prefix: function 0x12, 32 bytes


@dataclass(frozen=True, slots=True)
class Cid:
    """The identifier of a block: how to read its bytes (``codec``) and their SHA-256."""

    codec: int
    digest: bytes

    def __post_init__(self) -> None:
        if self.codec not in CODECS or len(self.digest) != 32:
            raise TypeError("a Cid needs a known codec and the 32 bytes of a SHA-256; use Cid.parse for foreign input")

    @classmethod
    def of(cls, codec: int, block: bytes) -> Cid:
        """Return the identifier of ``block`` read as ``codec``."""
        return cls(codec, hashlib.sha256(block).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID from a stranger's text.

        Raises InvalidError ``cid_malformed`` (not a CID) or ``cid_unsupported`` (a CID of another version, codec or hash).
        """
        if len(text) > MAX_TEXT or not text.isascii():
            raise InvalidError("cid_malformed", f"a CID has at most {MAX_TEXT} ASCII characters; this text has {len(text)}")
        if text.startswith("Qm") and len(text) == 46:
            return cls.from_bytes(_decode_multibase("z" + text, text))
        data = _decode_multibase(text, text)
        if data[:2] == _SHA2_256:
            # Version 0 has one spelling only; a multibase prefix on it would be a second name for the same block.
            raise InvalidError("cid_malformed", f"{text!r} is a CID of version 0 behind a multibase prefix")
        return cls.from_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """Read a binary CID that must fill ``data`` exactly. Raises InvalidError as ``parse`` does."""
        if len(data) == BINARY_BYTES and data[0] == 1 and data[1] in CODECS and data[2:4] == _SHA2_256:
            return cls(data[1], data[4:])
        if len(data) == V0_BYTES and data[:2] == _SHA2_256:
            return cls(DAG_PB, data[2:])
        raise _why_not(data)

    def to_bytes(self) -> bytes:
        """Return the binary form, 36 bytes."""
        return bytes((1, self.codec)) + _SHA2_256 + self.digest

    def __str__(self) -> str:
        return libipld.encode_cid(self.to_bytes())


def _decode_multibase(encoded: str, shown: str) -> bytes:
    try:
        base, data = libipld.decode_multibase(encoded)
    except ValueError as error:
        raise InvalidError("cid_malformed", f"{shown[:80]!r} is not a CID: {error}") from error
    # Decoders forgive letters of the other case; the identity multibase is no text at all. One spelling per multibase.
    if base == "\x00" or libipld.encode_multibase(base, data) != encoded:
        raise InvalidError("cid_malformed", f"{shown[:80]!r} is not the canonical spelling in its multibase")
    return data


def _why_not(data: bytes) -> InvalidError:
    """Return why ``data`` is no CID for us: broken, or sound but of a kind that proofs do not use."""
    if data[:1] not in (b"\x01", b"\x12"):
        kind = "unsupported" if data[:1] in (b"\x02", b"\x03") else "malformed"  # 2 and 3 are reserved versions
        return InvalidError(f"cid_{kind}", f"0x{data[:8].hex()} does not start a CID of version 0 or 1")
    try:
        parts = libipld.decode_cid(data)
    except ValueError as error:
        return InvalidError("cid_malformed", f"0x{data[:40].hex()} is not a binary CID: {error}")
    codec, function, size = parts["codec"], parts["hash"]["code"], parts["hash"]["size"]
    if codec in CODECS and function == 0x12 and size == 32:
        return InvalidError("cid_malformed", f"{len(data)} bytes where the CID in front has fewer: nothing may follow it")
    return InvalidError(
        "cid_unsupported",
        f"codec 0x{codec:x} with hash 0x{function:x} of {size} bytes; proofs use raw, dag-pb or dag-cbor with SHA-256",
    )
