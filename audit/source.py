"""Where a package under audit comes from: blocks by CID, a folder, or a CAR file. Every read is bounded.

A folder's CID is computed from its bytes, so it can never fail to match; a CID and a CAR's root can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orca_protocol.errors import UnavailableError
from proof_store.base import BlockStore, MemoryBlocks
from proof_store.builder import root_of
from proof_store.car import read_car
from proof_store.cid import Cid
from proof_store.limits import CarLimits, ReadLimits
from proof_store.reader import read_directory
from proof_store.tree import read_tree

#: a proof is some files of text; nothing honest comes near these
PACKAGE_LIMITS = ReadLimits(total_bytes=64 * 1024 * 1024, files=1000, depth=16, links=20_000)
CAR_LIMITS = CarLimits(total_bytes=72 * 1024 * 1024, blocks=20_000)


@dataclass(frozen=True, slots=True)
class Received:
    """The bytes of a package and the CID that names them."""

    cid: Cid
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(map(len, self.files.values()))


#: fetches the package; raises what the reader raises
Source = Callable[[], Received]


def from_blocks(cid: Cid, blocks: BlockStore, limits: ReadLimits = PACKAGE_LIMITS) -> Source:
    """Read the package ``cid`` from ``blocks``."""
    return lambda: Received(cid, read_directory(cid, blocks, limits))


def from_folder(folder: Path, limits: ReadLimits = PACKAGE_LIMITS) -> Source:
    """Read the package that lies in ``folder``."""

    def receive() -> Received:
        files = read_tree(folder, limits)
        return Received(root_of(files), files)

    return receive


def from_car(path: Path, limits: ReadLimits = PACKAGE_LIMITS, car_limits: CarLimits = CAR_LIMITS) -> Source:
    """Read the package that is the one root of the CAR file ``path``."""

    def receive() -> Received:
        blocks = MemoryBlocks()
        try:
            with path.open("rb") as file:
                root = read_car(file, blocks, car_limits)
        except OSError as error:
            raise UnavailableError("file_unreadable", f"{path}: {error.strerror}") from error
        return Received(root, read_directory(root, blocks, limits))

    return receive
