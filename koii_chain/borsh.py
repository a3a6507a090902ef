"""Borsh, as far as task accounts use it: little-endian integers, strings, maps and lists with a u32 count.

A reader for a stranger's bytes: a count is never believed beyond what the remaining bytes could hold, a key stands once,
and what follows the value may only be zeros (accounts are allocated larger than their content).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import base58

from orca_protocol.errors import InvalidError

T = TypeVar("T")
KEY_BYTES = 32


class BorshReader:
    """Reads values one after the other. Raises InvalidError ``borsh`` at the first byte that cannot be right."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self.wrong(f"{size} bytes expected, {len(self._data) - self._at} left")
        data = self._data[self._at : end]
        self._at = end
        return data

    def u8(self) -> int:
        """Return a byte."""
        return self.take(1)[0]

    def u64(self) -> int:
        """Return an unsigned 64-bit integer."""
        return int.from_bytes(self.take(8), "little")

    def boolean(self) -> bool:
        """Return a truth value, spelled 0 or 1."""
        value = self.u8()
        if value > 1:
            raise self.wrong(f"{value} is no truth value")
        return value == 1

    def text(self) -> str:
        """Return a string."""
        data = self.take(self._count(1))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.wrong("a string is not UTF-8") from error

    def key(self) -> str:
        """Return a public key in base58."""
        return base58.b58encode(self.take(KEY_BYTES)).decode()

    def list(self, item: Callable[[], T]) -> tuple[T, ...]:
        """Return a list of what ``item`` reads."""
        return tuple(item() for _ in range(self._count(1)))

    def map(self, value: Callable[[], T]) -> dict[str, T]:
        """Return a map from strings to what ``value`` reads."""
        found: dict[str, T] = {}
        for _ in range(self._count(5)):
            name = self.text()
            if name in found:
                raise self.wrong(f"the key {name[:60]!r} stands twice in one map")
            found[name] = value()
        return found

    def rounds(self, value: Callable[[], T]) -> dict[int, T]:
        """Return a map whose keys are round numbers written as strings."""
        return {self.round(name): content for name, content in self.map(value).items()}

    def round(self, name: str) -> int:
        """Return a round number from its one spelling."""
        if not (name.isascii() and name.isdigit() and len(name) <= 16 and str(int(name)) == name):
            raise self.wrong(f"{name[:40]!r} is no round")
        return int(name)

    def end(self) -> None:
        """Require that nothing but zeros is left."""
        if self._data[self._at :].strip(b"\0"):
            raise self.wrong("something other than zeros follows the value")

    def wrong(self, what: str) -> InvalidError:
        """Return the error for the place reached."""
        return InvalidError("borsh", f"{self._where}: {what}, at byte {self._at}")

    def _count(self, smallest: int) -> int:
        count = int.from_bytes(self.take(4), "little")
        if count * smallest > len(self._data) - self._at:
            raise self.wrong(f"{count} items cannot be in {len(self._data) - self._at} bytes")
        return count


def u64(value: int) -> bytes:
    """Write an unsigned 64-bit integer."""
    return value.to_bytes(8, "little")


def text(value: str) -> bytes:
    """Write a string."""
    data = value.encode()
    return len(data).to_bytes(4, "little") + data


def key(value: str) -> bytes:
    """Write a public key given in base58."""
    data = base58.b58decode(value)
    if len(data) != KEY_BYTES:
        raise InvalidError("base58", f"{value[:60]!r} is not the base58 form of a public key")
    return data


def sequence(items: Sequence[T], write: Callable[[T], bytes]) -> bytes:
    """Write a list."""
    return len(items).to_bytes(4, "little") + b"".join(map(write, items))


def mapping(items: Mapping[str, T], write: Callable[[T], bytes]) -> bytes:
    """Write a map, its keys in byte order as a BTreeMap keeps them."""
    pairs: Iterable[str] = sorted(items, key=str.encode)
    return len(items).to_bytes(4, "little") + b"".join(text(name) + write(items[name]) for name in pairs)


def rounds(items: Mapping[int, T], write: Callable[[T], bytes]) -> bytes:
    """Write a map keyed by round."""
    return mapping({str(number): value for number, value in items.items()}, write)
