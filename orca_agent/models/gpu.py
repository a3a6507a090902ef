"""Video memory, where the machine can say: NVIDIA's by NVML, AMD's by the figures of its kernel driver.

Nothing is guessed: a maker that cannot be asked is named with the reason. The embedded engine computes on the processor; these
figures are for the operator, who runs servers of their own beside the node, and for ``GET /v1/models?min_vram=``. Other
accelerators (Apple's unified memory, Intel's) have no source on Linux that this node reads: unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from orca_agent.models.base import excerpt
from orca_protocol.errors import UnavailableError

_DRM = Path("/sys/class/drm")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator; sizes in bytes."""

    name: str
    total: int
    free: int

    def __str__(self) -> str:
        return f"{self.name}: {self.free / 2**30:.1f} of {self.total / 2**30:.1f} GiB free"


def nvidia_gpus() -> tuple[Gpu, ...]:
    """Return NVIDIA's.

    Raises UnavailableError ``nvml_missing`` (the Python package) or ``nvml_failed`` (no driver, no permission).
    """
    try:
        nvml: Any = import_module("pynvml")
    except ImportError as error:
        raise UnavailableError("nvml_missing", "the package nvidia-ml-py is not installed") from error
    try:
        nvml.nvmlInit()
        try:
            return tuple(_nvidia(nvml, place) for place in range(nvml.nvmlDeviceGetCount()))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        raise UnavailableError("nvml_failed", f"NVML says: {excerpt(str(error))}") from error


def _nvidia(nvml: Any, place: int) -> Gpu:
    device = nvml.nvmlDeviceGetHandleByIndex(place)
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    return Gpu(str(nvml.nvmlDeviceGetName(device)), int(memory.total), int(memory.free))


def amd_gpus(drm: Path = _DRM) -> tuple[Gpu, ...]:
    """Return AMD's, as the amdgpu driver says them in sysfs; none where there is no such driver."""
    found = []
    for total in sorted(drm.glob("card[0-9]*/device/mem_info_vram_total")):
        device = total.parent
        try:
            size, used = int(total.read_text()), int((device / "mem_info_vram_used").read_text())
        except (OSError, ValueError) as error:
            raise UnavailableError("vram_unknown", f"{device} does not say how much video memory is used") from error
        found.append(Gpu(f"AMD {device.parent.name}", size, max(0, size - used)))
    return tuple(found)
