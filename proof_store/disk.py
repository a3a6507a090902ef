"""The two things that everything here does with a disk: translate its failures, and replace a file all at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orca_protocol.errors import UnavailableError


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn an OSError into UnavailableError ``storage_failed``: the disk is the world, and it did not answer."""
    try:
        yield
    except OSError as error:
        raise UnavailableError("storage_failed", f"cannot read {what}: {error.strerror or error}") from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """The same for writing: a full disk is not a bad block."""
    try:
        yield
    except OSError as error:
        raise UnavailableError("storage_failed", f"cannot write {what}: {error.strerror or error}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader, or a crash at any moment, finds the old file or the new one, whole."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names just created in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
