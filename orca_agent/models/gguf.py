"""What a GGUF file says of its model: enough to reckon the memory of a context before anything is loaded.

Only the key-value header is read, value by value, and never more than a bound; tensors are not touched. All functions take an
open file, so that they can be held against any bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from orca_protocol.errors import InvalidError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HEADER_MAX = 256 * 2**20
_STRING_MAX = 2**20
_KEYS_MAX = 10_000
#: lists longer than this are vocabularies: passed over
_KEPT_ITEMS = 4096
#: type numbers of the format
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _LIST = 8, 9
#: llama.cpp keeps keys and values as 16-bit floats unless told otherwise
_CACHE_BYTES = 2
_MOST = 2**31

Value = int | float | bool | str | list["Value"] | None


@dataclass(frozen=True)
class Shape:
    """The dimensions of a transformer that its memory follows from."""

    architecture: str
    layers: int
    #: key-value heads of each layer
    kv_heads: tuple[int, ...]
    #: length of a key and of a value, per head
    key: int
    value: int
    #: tokens that it was trained to read
    context: int

    def cache_bytes(self, context: int) -> int:
        """Return the memory that keys and values of ``context`` tokens take."""
        return context * sum(self.kv_heads) * (self.key + self.value) * _CACHE_BYTES


def read_shape(file: BinaryIO) -> Shape:
    """Return the shape of the model in ``file``. Raises InvalidError ``bad_gguf``."""
    try:
        return _shape(_Reader(file).header())
    except (struct.error, UnicodeDecodeError) as error:
        raise _bad("its header is damaged") from error


def _shape(said: dict[str, Value]) -> Shape:
    architecture = said.get("general.architecture")
    if not isinstance(architecture, str):
        raise _bad("it names no architecture")

    def number(name: str, default: int | None = None) -> int:
        found = said.get(f"{architecture}.{name}", default)
        if type(found) is not int or not 0 < found < _MOST:
            raise _bad(f"{architecture}.{name} is missing or absurd")
        return found

    layers, heads = number("block_count"), number("attention.head_count")
    size = number("embedding_length") // heads
    each = said.get(f"{architecture}.attention.head_count_kv", heads)
    kv_heads = each if isinstance(each, list) else [each] * min(layers, _KEPT_ITEMS)
    counts = tuple(count for count in kv_heads if type(count) is int and 0 <= count < _MOST)
    if len(counts) != layers:
        raise _bad(f"{architecture}.attention.head_count_kv is absurd")
    key, value = number("attention.key_length", size), number("attention.value_length", size)
    return Shape(architecture, layers, counts, key, value, number("context_length"))


class _Reader:
    """Reads the header front to back, within its bound."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _HEADER_MAX

    def header(self) -> dict[str, Value]:
        if self._bytes(4) != _MAGIC:
            raise _bad("it does not begin with GGUF")
        if self._number("<I") not in _VERSIONS:
            raise _bad("this node reads versions 2 and 3 of the format")
        self._number("<Q")  # how many tensors
        keys = self._number("<Q")
        if keys > _KEYS_MAX:
            raise _bad(f"it has {keys} keys; at most {_KEYS_MAX} are read")
        return {self._string(): self._value(self._number("<I")) for _ in range(keys)}

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _LIST and depth < 2:
            return self._list(depth)
        if kind not in _SCALARS:
            raise _bad(f"it has a value of the unknown type {kind}")
        found: int | float | bool = struct.unpack(_SCALARS[kind], self._bytes(struct.calcsize(_SCALARS[kind])))[0]
        return found

    def _list(self, depth: int) -> Value:
        kind, count = self._number("<I"), self._number("<Q")
        if kind in _SCALARS and count > _KEPT_ITEMS:
            self._skip(count * struct.calcsize(_SCALARS[kind]))
            return None
        items: list[Value] = []
        for _ in range(count):
            item = self._value(kind, depth + 1)
            if count <= _KEPT_ITEMS:
                items.append(item)
        return items or None

    def _string(self) -> str:
        size = self._number("<Q")
        if size > _STRING_MAX:
            raise _bad("it has a text longer than a megabyte")
        return self._bytes(size).decode()

    def _number(self, form: str) -> int:
        found: int = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return found

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._bytes(min(size, 2**20)))

    def _bytes(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise _bad(f"its header is longer than the {_HEADER_MAX} bytes that are read")
        found = self._file.read(size)
        if len(found) != size:
            raise _bad("it ends in the middle of its header")
        return found


def _bad(why: str) -> InvalidError:
    return InvalidError("bad_gguf", f"this is no model file that can be read: {why}")
