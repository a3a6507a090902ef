"""Whether local weights fit: the file, plus the keys and values of a full context, against what the machine has free.

Linux only, as the rest of this node: ``MemAvailable`` of /proc/meminfo counts what can be had without swapping.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orca_agent.models.llama import Weights, locate
from orca_protocol.errors import UnavailableError

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes that a model needs and that are free."""

    needed: int
    free: int

    @property
    def is_enough(self) -> bool:
        """Whether it fits."""
        return self.needed <= self.free

    def __str__(self) -> str:
        return f"needs {self.needed / 2**20:.0f} MiB, {self.free / 2**20:.0f} MiB free"


def fit_of(weights: Weights) -> Fit:
    """Return what ``weights`` need. Raises UnavailableError ``model_not_installed`` or ``memory_unknown``."""
    return Fit(locate(weights).stat().st_size + weights.context * weights.context_bytes_per_token, available_bytes())


def available_bytes(meminfo: Path = _MEMINFO) -> int:
    """Return the memory that can be had without swapping."""
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError) as error:
        raise UnavailableError("memory_unknown", f"{meminfo} does not say how much memory is free") from error
