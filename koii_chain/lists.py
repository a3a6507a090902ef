"""Distribution lists as they lie in a staking account: bincode <round → <task → JSON text {key: amount}>>.

A positive amount is a reward, a negative one a cut of the stake. Everything is read as a stranger's: counts are bounded
by the bytes that are there, amounts are integers that JSON carries exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError

#: a list of a thousand keys has about 60 kB
LIST_MAX_BYTES: Final = 256 * 1024

Amounts = dict[str, int]


def write_lists(lists: Mapping[int, Mapping[str, Mapping[str, int]]]) -> bytes:
    """Return the account's content."""
    parts = [struct.pack("<Q", len(lists))]
    for number in sorted(lists):
        parts += [_text(str(number)), struct.pack("<Q", len(lists[number]))]
        for task_id in sorted(lists[number]):
            parts += [_text(task_id), _text(canonical(dict(lists[number][task_id])).decode())]
    return b"".join(parts)


def read_lists(data: bytes, *, where: str) -> dict[int, dict[str, Amounts]]:
    """Read the account's content, zeros at its end or not. Raises InvalidError ``distribution_list``, or as ``parse_json``."""
    if len(data) > LIST_MAX_BYTES:
        raise InvalidError("distribution_list", f"{where} has {len(data)} bytes; at most {LIST_MAX_BYTES} are read")
    reader = _Reader(data, where)
    found: dict[int, dict[str, Amounts]] = {}
    for _ in range(reader.count()):
        name = reader.text()
        if not (name.isascii() and name.isdigit() and len(name) <= 16 and str(int(name)) == name) or int(name) in found:
            raise reader.wrong(f"{name[:40]!r} is no round, or stands twice")
        tasks = found[int(name)] = {}
        for _ in range(reader.count()):
            task_id = reader.text()
            if task_id in tasks:
                raise reader.wrong(f"task {task_id[:60]!r} stands twice")
            tasks[task_id] = read_amounts(reader.text().encode(), where=where)
    reader.end()
    return found


def read_amounts(data: bytes, *, where: str) -> Amounts:
    """Read one list's JSON. Raises InvalidError ``distribution_list``, or as ``parse_json`` does."""
    document = parse_json(data, max_bytes=LIST_MAX_BYTES, where=where)
    if not isinstance(document, dict) or not all(type(amount) is int for amount in document.values()):
        raise InvalidError("distribution_list", f"{where} is not an object of whole amounts")
    return document


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    def count(self) -> int:
        """A count or a length: eight bytes, and nothing that has a count has less than one byte."""
        if self._at + 8 > len(self._data):
            raise self.wrong("it ends in the middle")
        (count,) = struct.unpack_from("<Q", self._data, self._at)
        self._at += 8
        if count > len(self._data) - self._at:
            raise self.wrong(f"{count} items cannot be in {len(self._data) - self._at} bytes")
        return int(count)

    def text(self) -> str:
        size = self.count()
        data = self._data[self._at : self._at + size]
        self._at += size
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.wrong("a text is not UTF-8") from error

    def end(self) -> None:
        if self._data[self._at :].strip(b"\0"):
            raise self.wrong("something other than zeros follows")

    def wrong(self, what: str) -> InvalidError:
        return InvalidError("distribution_list", f"{self._where}: {what}, at byte {self._at}")


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data
