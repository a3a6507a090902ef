"""A folder on disk, in and out: what the builder takes and what the reader gives, as plain files.

Both directions hold on to open folders (``dir_fd``) instead of walking paths, so nobody who renames folders or plants links
meanwhile can lead a read or a write elsewhere. Links, devices, pipes and empty folders are refused, not skipped: what is
imported is all there was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.base import BlockStore
from proof_store.builder import Built, build_file, build_node, refuse_crowd
from proof_store.disk import reading, writing
from proof_store.limits import Budget, ReadLimits
from proof_store.names import Branch, join_name, tree_of

DEFAULT_LIMITS = ReadLimits()

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not make us wait, even if it came after the look
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def read_tree(folder: Path, limits: ReadLimits = DEFAULT_LIMITS) -> dict[str, bytes]:
    """Return every file below ``folder`` under its '/'-separated name, sorted.

    Raises InvalidError ``not_a_folder``, ``tree_special`` (a link, device, pipe or socket), ``directory_empty`` or
    ``name_invalid``, LimitError ``read_bytes``, ``read_files`` or ``read_depth``, UnavailableError ``storage_failed`` for what
    cannot be read or changes while it is read.
    """
    if not folder.is_dir():
        raise InvalidError("not_a_folder", f"{folder} is not a folder")
    files: dict[str, bytes] = {}
    with reading(f"the folder {folder}"), _opened(folder, _FOLDER, None) as handle:
        _collect(handle, "", 0, files, Budget(limits))
    return dict(sorted(files.items()))


def store_tree(folder: Path, blocks: BlockStore, limits: ReadLimits = DEFAULT_LIMITS) -> Built:
    """Put every file below ``folder`` into ``blocks`` and return the root: what ``build_directory`` makes of ``read_tree``.

    Memory holds a chunk and a level's links, whatever the files' sizes. Raises as both do.
    """
    if not folder.is_dir():
        raise InvalidError("not_a_folder", f"{folder} is not a folder")
    with reading(f"the folder {folder}"), _opened(folder, _FOLDER, None) as handle:
        return _store(handle, "", 0, blocks, Budget(limits))


def write_tree(files: Mapping[str, bytes], folder: Path) -> None:
    """Write ``files`` into ``folder``, which must be absent or empty; it is made with its parents.

    Raises InvalidError ``name_invalid``, ``name_conflict`` or ``folder_not_empty`` before anything is written, UnavailableError
    ``storage_failed`` when the disk does not take it all.
    """
    tree = tree_of(files)
    with writing(f"the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with _opened(folder, _FOLDER, None) as handle:
            if _names_in(handle):
                raise InvalidError("folder_not_empty", f"{folder} is not empty; name a new folder")
            _spread(tree, handle)


def _collect(handle: int, folder: str, depth: int, files: dict[str, bytes], budget: Budget) -> None:
    budget.check_depth(depth)
    parts = _names_in(handle)
    if folder and not parts:
        raise InvalidError("directory_empty", f"the folder {folder!r} is empty; a package has files only, so remove it")
    for part in parts:
        name = join_name(folder, part)
        mode = os.lstat(part, dir_fd=handle).st_mode
        if stat.S_ISDIR(mode):
            with _opened(part, _FOLDER | os.O_NOFOLLOW, handle) as inner:
                _collect(inner, name, depth + 1, files, budget)
        elif stat.S_ISREG(mode):
            budget.spend_file()
            files[name] = _read_file(part, name, handle, budget)
        else:
            raise InvalidError("tree_special", f"{name!r} is a link or a special file; a package holds plain files only")


def _store(handle: int, folder: str, depth: int, blocks: BlockStore, budget: Budget) -> Built:
    budget.check_depth(depth)
    parts = _names_in(handle)
    refuse_crowd(len(parts))
    if folder and not parts:
        raise InvalidError("directory_empty", f"the folder {folder!r} is empty; a package has files only, so remove it")
    children: dict[str, Built] = {}
    for part in parts:
        name = join_name(folder, part)
        mode = os.lstat(part, dir_fd=handle).st_mode
        if stat.S_ISDIR(mode):
            with _opened(part, _FOLDER | os.O_NOFOLLOW, handle) as inner:
                children[part] = _store(inner, name, depth + 1, blocks, budget)
        elif stat.S_ISREG(mode):
            budget.spend_file()
            children[part] = _store_file(part, name, handle, blocks, budget)
        else:
            raise InvalidError("tree_special", f"{name!r} is a link or a special file; a package holds plain files only")
    return build_node(children, blocks)


def _store_file(part: str, name: str, folder: int, blocks: BlockStore, budget: Budget) -> Built:
    with _opened(part, _FILE, folder) as handle:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidError("tree_special", f"{name!r} is no longer a plain file")
        budget.foresee_bytes(status.st_size)
        built = build_file(_AtMost(handle, status.st_size + 1), blocks)
    if built.size != status.st_size:
        raise UnavailableError("storage_failed", f"{name!r} changed while it was read; try again when nobody writes there")
    budget.spend_bytes(built.size)
    return built


class _AtMost:
    """An open file up to so many bytes: one that grows while it is read is not followed for ever."""

    def __init__(self, handle: int, size: int) -> None:
        self._handle = handle
        self._left = size

    def read(self, size: int, /) -> bytes:
        """See Readable."""
        piece = os.read(self._handle, min(size, self._left))
        self._left -= len(piece)
        return piece


def _read_file(part: str, name: str, folder: int, budget: Budget) -> bytes:
    with _opened(part, _FILE, folder) as handle:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidError("tree_special", f"{name!r} is no longer a plain file")
        budget.foresee_bytes(status.st_size)
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(status.st_size + 1)  # one more than it says: it may grow while it is read
    if len(content) != status.st_size:
        raise UnavailableError("storage_failed", f"{name!r} changed while it was read; try again when nobody writes there")
    budget.spend_bytes(len(content))
    return content


def _spread(branch: Branch, handle: int) -> None:
    for part, content in branch.items():
        if isinstance(content, bytes):
            with os.fdopen(os.open(part, _NEW_FILE, 0o644, dir_fd=handle), "wb") as file:
                file.write(content)
        else:
            os.mkdir(part, 0o755, dir_fd=handle)
            with _opened(part, _FOLDER | os.O_NOFOLLOW, handle) as inner:
                _spread(content, inner)


def _names_in(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return sorted(entry.name for entry in entries)


@contextmanager
def _opened(path: Path | str, flags: int, folder: int | None) -> Iterator[int]:
    handle = os.open(path, flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)
