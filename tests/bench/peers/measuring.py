"""How every peer is measured; nothing here needs more than the standard library."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TASK = "Analyze market trends for AI and tech sectors"
SEQUENTIAL = {"seq10": 10}
CONCURRENT = {"con10": 10, "con50": 50, "con200": 200}

#: runs so many agents and returns what they said
Run = Callable[[int], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class Peer:
    """How a peer works at once, and one after the other where it has that."""

    concurrent: Run
    sequential: Run | None = None


def instructions(number: int) -> str:
    """Return the system prompt of one agent."""
    return f"AGENT:A{number}"


def main(make: Callable[[str], Peer]) -> None:
    """Measure one cell; ``make`` gets the model server's base URL."""
    workload, base_url, repeats = sys.argv[1:]
    began = time.perf_counter()
    peer = make(base_url)
    run, agents = (peer.sequential, SEQUENTIAL[workload]) if workload in SEQUENTIAL else (peer.concurrent, CONCURRENT[workload])
    if run is None:
        raise SystemExit(f"this peer has no way to do {workload}")
    print(json.dumps(asyncio.run(_measure(run, agents, int(repeats))) | {"made_s": time.perf_counter() - began}))


async def _measure(run: Run, agents: int, repeats: int) -> dict[str, object]:
    walls, cpus = [], []
    for _ in range(repeats + 1):
        cpu, wall = _cpu(), time.perf_counter()
        said = await run(agents)
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((_cpu() - cpu) * 1000 / agents)
        if len(said) != agents or not all(said):
            raise SystemExit(f"{agents} agents gave {len(said)} answers: {said!r:.300}")
    return {"wall_ms": walls[1:], "cpu_ms": cpus[1:], "rss_mb": most_resident_mb()}


def most_resident_mb() -> float:
    """Return the most memory that was resident since this program began (``ru_maxrss`` counts its parent's too)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
