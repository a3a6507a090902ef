"""The two protobuf wire types that dag-pb and UnixFS use, read strictly.

Protobuf lets one value be spelled in many ways (padded varints, repeated and unknown fields, any order). A block's
name is the hash of its spelling, so only one is accepted: varints are minimal and below 2^63, and fields come in the
order that the caller asks for them.
"""

from __future__ import annotations

from orca_protocol.errors import InvalidError

VARINT = 0
BYTES = 2
MAX_VARINT_BYTES = 9  # unsigned-varint specification: 63 bits, so that every language can hold the value


def encode_varint(value: int) -> bytes:
    """Return ``value`` as a minimal unsigned varint."""
    if not 0 <= value < 1 << 63:
        raise TypeError(f"{value} does not fit in an unsigned varint of 63 bits")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_field(number: int, value: int | bytes) -> bytes:
    """Return one protobuf field: an integer as a varint, bytes with their length in front."""
    if isinstance(value, int):
        return encode_varint(number << 3 | VARINT) + encode_varint(value)
    return encode_varint(number << 3 | BYTES) + encode_varint(len(value)) + value


class FieldReader:
    """A cursor over one message; every complaint is an InvalidError with ``code`` that names ``what``."""

    def __init__(self, data: bytes, *, code: str, what: str) -> None:
        self._data = data
        self._offset = 0
        self._code = code
        self._what = what

    def error(self, reason: str) -> InvalidError:
        """Return the message's error, with the position, for the caller to raise."""
        return InvalidError(self._code, f"{self._what}: {reason} (byte {self._offset} of {len(self._data)})")

    def next_is(self, number: int, wire_type: int) -> bool:
        """Consume the next field's key if it is this one. Keys of the fields used here fit in one byte."""
        if self._data[self._offset : self._offset + 1] != bytes((number << 3 | wire_type,)):
            return False
        self._offset += 1
        return True

    def expect(self, number: int, wire_type: int, name: str) -> None:
        """Consume the next field's key, which must be this one."""
        if not self.next_is(number, wire_type):
            raise self.error(f"expected the field {name}")

    def varint(self) -> int:
        """Read one minimal varint below 2^63."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            if self._offset >= len(self._data):
                raise self.error("it ends inside a number")
            byte = self._data[self._offset]
            self._offset += 1
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index:
                    raise self.error("a number is padded with zeros")
                return value
        raise self.error("a number needs more than 63 bits")

    def bytes(self) -> bytes:
        """Read a length and that many bytes. The length is compared with what is left before anything is copied."""
        length = self.varint()
        if length > len(self._data) - self._offset:
            raise self.error(f"a field says {length} bytes and {len(self._data) - self._offset} are left")
        start = self._offset
        self._offset += length
        return self._data[start : self._offset]

    def finish(self) -> None:
        """Require that everything was read: unknown, repeated and misplaced fields end up here."""
        if self._offset != len(self._data):
            raise self.error("an unknown, repeated or misplaced field")
