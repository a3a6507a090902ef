"""The append-only file that a devnet is made from: frames of length, checksum and content, each on disk before it counts.

A torn last frame (the process was killed while writing; nobody was told that it was accepted) is cut off at the next start.
Damage anywhere else is an error: a chain that forgets silently would be worse than one that stops.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orca_protocol.errors import InvalidError, UnavailableError

MAGIC: Final = b"orca devnet log 1\n"
RECORD_MAX_BYTES: Final = 64 * 1024
_HEAD: Final = struct.Struct("<I16s")


class RecordLog:
    """One file, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Raises UnavailableError ``devnet_in_use`` or ``devnet_log``, InvalidError ``devnet_log_damaged``."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError("devnet_log", f"{path} cannot be opened: {error.strerror}") from error
        try:
            self._lock()
            self._records = self._load()
        except BaseException:
            os.close(self._file)
            raise

    def replay(self) -> Iterator[bytes]:
        """Return the records that were there at the start, once."""
        records, self._records = self._records, []
        return iter(records)

    def append(self, record: bytes) -> None:
        """Return when ``record`` is on disk. Raises UnavailableError ``devnet_log``; the file is then as it was before."""
        if not 0 < len(record) <= RECORD_MAX_BYTES:
            raise RuntimeError(f"a record of {len(record)} bytes does not fit the log")
        frame = _frame(record)
        try:
            written = os.pwrite(self._file, frame, self._end)
            if written != len(frame):
                raise OSError(0, f"only {written} of {len(frame)} bytes were written")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise UnavailableError("devnet_log", f"{self.path} cannot be written: {error.strerror}") from error
        self._end += len(frame)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(
                "devnet_in_use", f"another process runs the devnet in {self.path.parent}; stop it first"
            ) from error

    def _load(self) -> list[bytes]:
        data = self.path.read_bytes()
        if len(data) < len(MAGIC) and MAGIC.startswith(data):
            self._start()
            return []
        if not data.startswith(MAGIC):
            raise InvalidError("devnet_log_damaged", f"{self.path} is not a devnet log")
        records = []
        at = len(MAGIC)
        while at < len(data):
            record = self._record(data, at)
            if record is None:
                os.ftruncate(self._file, at)
                os.fsync(self._file)
                break
            records.append(record)
            at += _HEAD.size + len(record)
        self._end = at
        return records

    def _record(self, data: bytes, at: int) -> bytes | None:
        """Return the record at a place, or None where the file ends within it."""
        if at + _HEAD.size > len(data):
            return None
        size, checksum = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + size
        record = data[at + _HEAD.size : end]
        if 0 < size <= RECORD_MAX_BYTES and end <= len(data) and _checksum(record) == checksum:
            return record
        # Only the last frame can be torn; it then reaches to the end of the file at least.
        if end >= len(data) and len(data) - at <= _HEAD.size + RECORD_MAX_BYTES:
            return None
        raise InvalidError("devnet_log_damaged", f"{self.path} is damaged at byte {at}; the devnet's state cannot be made from it")

    def _start(self) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, MAGIC, 0)
        os.fsync(self._file)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._end = len(MAGIC)


def _checksum(record: bytes) -> bytes:
    return hashlib.sha256(record).digest()[:16]


def _frame(record: bytes) -> bytes:
    return _HEAD.pack(len(record), _checksum(record)) + record
