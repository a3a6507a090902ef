"""What reading a stranger's data may cost: each reader takes one of these values and stops with a LimitError."""

from __future__ import annotations

from dataclasses import dataclass, fields

from orca_protocol.errors import LimitError

MAX_BLOCK_BYTES = 1_048_576  # the most that Kubo stores without being asked twice; ours have at most 262,144
DEEPEST = 128  # readers recurse once a level; beyond this Python's own stack would be the limit


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Ceilings for one tree. ``depth`` counts every level of blocks, of folders and inside a large file alike."""

    total_bytes: int = 256 * 1_048_576
    files: int = 10_000
    depth: int = 48
    block_bytes: int = MAX_BLOCK_BYTES
    links: int = 100_000

    def __post_init__(self) -> None:
        _require_positive(self)
        if self.depth > DEEPEST:
            raise TypeError(f"depth is at most {DEEPEST}")


@dataclass(frozen=True, slots=True)
class CarLimits:
    """Ceilings for one CAR file; ``total_bytes`` counts the file's own bytes, headers included."""

    total_bytes: int = 256 * 1_048_576
    header_bytes: int = 1_024
    block_bytes: int = MAX_BLOCK_BYTES
    blocks: int = 100_000

    def __post_init__(self) -> None:
        _require_positive(self)


class Budget:
    """What one reading has spent of its ReadLimits."""

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self._bytes = 0
        self._files = 0
        self._links = 0

    @property
    def bytes_left(self) -> int:
        """What may still be received."""
        return self.limits.total_bytes - self._bytes

    def foresee_bytes(self, declared: int) -> None:
        """Stop before fetching what, by its own words, does not fit. Raises LimitError ``read_bytes``."""
        if declared > self.bytes_left:
            raise LimitError("read_bytes", f"the tree has more than {self.limits.total_bytes} bytes")

    def spend_bytes(self, count: int) -> None:
        """Count bytes received. Raises LimitError ``read_bytes``."""
        self.foresee_bytes(count)
        self._bytes += count

    def spend_file(self) -> None:
        """Count one file. Raises LimitError ``read_files``."""
        self._files += 1
        if self._files > self.limits.files:
            raise LimitError("read_files", f"the tree has more than {self.limits.files} files")

    def spend_links(self, count: int) -> None:
        """Count links about to be followed. Raises LimitError ``read_links``."""
        self._links += count
        if self._links > self.limits.links:
            raise LimitError("read_links", f"the tree has more than {self.limits.links} links")

    def check_depth(self, depth: int) -> None:
        """Raises LimitError ``read_depth`` below the deepest level that is read."""
        if depth > self.limits.depth:
            raise LimitError("read_depth", f"the tree is deeper than {self.limits.depth} levels")


def _require_positive(limits: ReadLimits | CarLimits) -> None:
    for field in fields(limits):
        if getattr(limits, field.name) < 1:
            raise TypeError(f"{type(limits).__name__}.{field.name} must be at least 1")
