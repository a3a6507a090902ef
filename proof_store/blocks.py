"""Blocks in a folder: the store every node has, without a daemon.

One file a block, named by its CID, in sub-folders by two characters of it, as Kubo's flatfs does. Files appear all at once
(``replace_file``), so any number of processes may share the folder and a crash leaves no half block under a name.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store.base import checked, missing
from proof_store.cid import Cid
from proof_store.disk import reading, replace_file, sync_folder, writing
from proof_store.limits import MAX_BLOCK_BYTES


class DirectoryBlocks:
    """A BlockStore in the folder ``path``, which is made with the first block."""

    def __init__(self, path: Path | str, *, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        self.path = Path(path)
        self._max_block_bytes = max_block_bytes

    def get(self, cid: Cid) -> bytes:
        """See BlockStore. UnavailableError ``storage_failed`` when the disk does not answer."""
        with reading(f"block {cid}"):
            try:
                # Neither a link to elsewhere nor a pipe that blocks is what put() left here.
                handle = os.open(self._place(cid), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                raise missing(cid, str(self.path)) from None
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise InvalidError("block_corrupt", f"what is kept as {cid} is not a file")
                block = file.read(self._max_block_bytes + 1)  # never whole: one byte too many is enough to refuse it
        return checked(cid, block, max_bytes=self._max_block_bytes)

    def put(self, cid: Cid, block: bytes) -> None:
        """See BlockStore. A sound copy is left alone, but that it was wanted now (``remove``), a damaged one is replaced."""
        checked(cid, block, max_bytes=self._max_block_bytes)
        if self._is_sound(cid):
            with suppress(OSError):
                os.utime(self._place(cid))
            return
        place = self._place(cid)
        with writing(f"block {cid}"):
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                sync_folder(self.path)
            replace_file(place, block)

    def has(self, cid: Cid) -> bool:
        """See BlockStore."""
        return self._place(cid).is_file()

    def cids(self) -> Iterator[Cid]:
        """Yield the name of every block that is here, in no order."""
        with reading(f"the folder {self.path}"):
            for file in self.path.glob("??/*.block"):
                with suppress(InvalidError):  # not a file of ours
                    yield Cid.parse(file.stem)

    def remove(self, cid: Cid, *, unused_for: float) -> int:
        """Delete a block that was not put for so many seconds, and return its bytes; 0 where there is none, or it was.

        Whoever puts a tree may find a block here already and go on: the time keeps it from being taken away under them.
        """
        place = self._place(cid)
        with writing(f"block {cid}"):
            try:
                found = place.stat()
                if time.time() - found.st_mtime < unused_for:
                    return 0
                place.unlink()
            except FileNotFoundError:
                return 0
        return found.st_size

    def _place(self, cid: Cid) -> Path:
        name = str(cid)
        return self.path / name[-3:-1] / f"{name}.block"  # the last character carries fewer than five bits

    def _is_sound(self, cid: Cid) -> bool:
        try:
            self.get(cid)
        except (InvalidError, LimitError, UnavailableError):
            return False  # missing or damaged, which writing cures; a disk that is really gone fails again there, and says so
        return True
