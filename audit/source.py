"""Where a package under audit comes from: blocks by CID, strangers' gateways, a folder, or a CAR file. Every read is bounded.

A folder's CID is computed from its bytes, so it can never fail to match; a CID and a CAR's root can.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from pathlib import Path

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from orca_protocol.journal import LINE_MAX_BYTES
from proof_store.base import BlockStore, MemoryBlocks
from proof_store.builder import root_of
from proof_store.car import read_car
from proof_store.cid import Cid
from proof_store.limits import CarLimits, ReadLimits
from proof_store.reader import read_directory
from proof_store.tree import read_tree


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """What reading one stranger's package may cost. A proof is some files of text; nothing honest comes near these."""

    total_bytes: int = 64 * 1024 * 1024
    files: int = 1000
    #: folders and levels of blocks
    depth: int = 16
    #: one line of the journal
    line_bytes: int = LINE_MAX_BYTES
    #: wall time of fetching and parsing
    seconds: float = 60.0

    @property
    def are_below_the_protocols(self) -> bool:
        """Whether an operator set any of them lower than what every auditor reads by default."""
        return any(getattr(self, field.name) < field.default for field in fields(self))

    @property
    def of_tree(self) -> ReadLimits:
        """The part that the tree reader holds."""
        return ReadLimits(total_bytes=self.total_bytes, files=self.files, depth=self.depth, links=20_000)

    @property
    def of_car(self) -> CarLimits:
        """The part that the CAR reader holds: the files, and an eighth more for headers and nodes."""
        return CarLimits(total_bytes=self.total_bytes + self.total_bytes // 8 + 64 * 1024, blocks=20_000)


DEFAULT_LIMITS = PackageLimits()


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


def from_blocks(cid: Cid, blocks: BlockStore, limits: PackageLimits = DEFAULT_LIMITS) -> Source:
    """Read the package ``cid`` from ``blocks``.

    A worker committed to the CID and to nothing else: bytes that do not hash to it are not the worker's, and say nothing of it.
    """

    def receive() -> Received:
        try:
            return Received(cid, read_directory(cid, blocks, limits.of_tree))
        except InvalidError as error:
            if error.code == "block_corrupt":
                raise UnavailableError(
                    "data_unavailable", f"the store gave other bytes than those named: {error.detail}"
                ) from error
            raise

    return receive


async def fetched(cid: Cid, fetching: Awaitable[BlockStore], limits: PackageLimits = DEFAULT_LIMITS) -> Source:
    """Await the blocks of the package ``cid`` from wherever strangers keep them, and return what reads it.

    That nobody had it, or that it is beyond the limits, is said when check 1 reads it, so that it becomes this proof's verdict and
    nothing else's: what a gateway did wrong is never the worker's fault, what the tree says of itself is.
    """
    try:
        blocks = await fetching
    except InvalidError as error:
        return _refusing(UnavailableError("data_unavailable", error.detail))
    except (UnavailableError, LimitError) as error:
        return _refusing(error)
    return from_blocks(cid, blocks, limits)


def from_folder(folder: Path, limits: PackageLimits = DEFAULT_LIMITS) -> Source:
    """Read the package that lies in ``folder``."""

    def receive() -> Received:
        files = read_tree(folder, limits.of_tree)
        return Received(root_of(files), files)

    return receive


def from_car(path: Path, limits: PackageLimits = DEFAULT_LIMITS) -> Source:
    """Read the package that is the one root of the CAR file ``path``."""

    def receive() -> Received:
        blocks = MemoryBlocks()
        try:
            with path.open("rb") as file:
                root = read_car(file, blocks, limits.of_car)
        except OSError as error:
            raise UnavailableError("file_unreadable", f"{path}: {error.strerror}") from error
        return Received(root, read_directory(root, blocks, limits.of_tree))

    return receive


def _refusing(error: UnavailableError | LimitError) -> Source:
    def receive() -> Received:
        raise error

    return receive
