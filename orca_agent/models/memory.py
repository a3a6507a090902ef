"""Whether local weights fit: the file, plus the keys and values of a full context, against what this machine has free.

The embedded engine computes on the processor, so what counts is main memory: ``MemAvailable`` of /proc/meminfo, what can be had
without swapping, and no more than what the node's own control group may still take (a container's or a service's limit, cgroup v2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orca_agent.models.gguf import read_shape
from orca_agent.models.llama import Weights, locate
from orca_protocol.errors import UnavailableError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model takes once it is loaded."""

    weights: int
    context: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.weights + self.context


@dataclass(frozen=True, slots=True)
class Fit:
    """What a model needs and what is free, in bytes."""

    need: Need
    free: int

    @property
    def is_enough(self) -> bool:
        """Whether it fits."""
        return self.need.total <= self.free

    def __str__(self) -> str:
        parts = f"{_mib(self.need.weights)} weights, {_mib(self.need.context)} context"
        return f"needs {_mib(self.need.total)} ({parts}), {_mib(self.free)} free"


@cache
def need_of(weights: Weights) -> Need:
    """Return what ``weights`` take with a full context; reads the file's header once.

    Raises UnavailableError ``model_not_installed``, InvalidError ``bad_gguf``.
    """
    path = locate(weights)
    with path.open("rb") as file:
        shape = read_shape(file)
    return Need(path.stat().st_size, shape.cache_bytes(weights.context))


def fit_of(weights: Weights) -> Fit:
    """Return whether ``weights`` fit. Raises as ``need_of`` and ``available_bytes`` do."""
    return Fit(need_of(weights), available_bytes())


def available_bytes(meminfo: Path = _MEMINFO, cgroup: Path | None = None) -> int:
    """Return the memory that can be had without swapping. Raises UnavailableError ``memory_unknown``."""
    cgroup = own_cgroup() if cgroup is None else cgroup
    try:
        lines = meminfo.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError) as error:
        raise UnavailableError("memory_unknown", f"{meminfo} does not say how much memory is free") from error
    allowed = _left_in(cgroup)
    return free if allowed is None else min(free, allowed)


def own_cgroup(said: Path = _OWN_CGROUP, root: Path = _CGROUP) -> Path:
    """Return the folder of this process's control group; the root's where the kernel names none (version 1 alone)."""
    try:
        lines = said.read_text().splitlines()
    except OSError:
        return root
    return root / next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), "")


def _left_in(cgroup: Path) -> int | None:
    """Return what the control group may still take, None where it sets no limit; cached files give way and do not count."""
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or the word "max"
        return None
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(0, limit - used + cached)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
