"""Run the bench and write docs/benchmarks/results.json and docs/benchmarks/README.md.

The model server has one core and the measured process the other, where the machine has two. Drivers take turns, so that a
machine that slows down slows all of them; a figure is the median of its repeats, and the best is given beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.cells import DRIVERS, WORKLOADS
from tests.bench.claims import claims
from tests.bench.report import write_report
from tests.fakes.scripted_server import scripted_server

ROOT = Path(__file__).parents[2]
LATENCY_MS = 50.0
_PACKAGES = ("httptools", "uvloop", "fastapi", "psycopg", "pydantic", "rfc8785")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="measure what orchestration costs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=2, help="how often the drivers take turns")
    parser.add_argument("--workloads", nargs="*", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    given = parser.parse_args()
    figures = [*commands(), *workloads(given.workloads, given.repeats, given.rounds), *claims()]
    results = {"machine": machine(), "latency_ms": LATENCY_MS, "figures": figures}
    print(write_report(results, given.out))


def workloads(names: list[str], repeats: int, rounds: int) -> list[dict[str, Any]]:
    """Measure every driver on every workload."""
    figures = []
    with scripted_server(latency_ms=LATENCY_MS, max_seconds=3600) as server:
        for name in names:
            cells: dict[str, list[dict[str, Any]]] = {driver: [] for driver in DRIVERS}
            for _ in range(rounds):
                for driver in DRIVERS:
                    cells[driver].append(cell(driver, name, server.openai, repeats))
                    print(f"  {name} {driver}: {min(cells[driver][-1]['wall_ms']):.0f} ms at best", file=sys.stderr)
            figures += [figure for driver in DRIVERS for figure in figures_of(name, driver, cells)]
    return figures


def cell(driver: str, workload: str, base_url: str, repeats: int) -> dict[str, Any]:
    """Measure one cell in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.cells", driver, workload, base_url, str(repeats)]
    if (os.cpu_count() or 1) > 1:
        command = ["taskset", "-c", "1", *command]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout))


def figures_of(workload: str, driver: str, cells: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the records of one driver on one workload, with their ratios to the limit and to the bare client."""
    limit = LATENCY_MS * WORKLOADS[workload][2]

    def middle(who: str, what: str) -> float:
        return float(statistics.median(value for one in cells[who] for value in one[what]))

    def best(what: str) -> float:
        return float(min(value for one in cells[driver] for value in one[what]))

    wall, cpu = middle(driver, "wall_ms"), middle(driver, "cpu_ms")
    return [
        record(
            f"{workload} wall",
            driver,
            wall,
            "ms",
            best("wall_ms"),
            {"limit": wall / limit, "bare": wall / middle("bare", "wall_ms")},
        ),
        record(f"{workload} CPU per call", driver, cpu, "ms", best("cpu_ms"), {"bare": cpu / middle("bare", "cpu_ms")}),
        record(f"{workload} resident", driver, max(one["rss_mb"] for one in cells[driver]), "MB", None, {}),
    ]


def commands() -> list[dict[str, Any]]:
    """Measure what a user waits for before anything happens."""
    help_command = [sys.executable, "-c", "from orca.cli import main; main()", "--help"]
    engine = [sys.executable, "-c", "import orca_engine.program, orca_engine.replay"]
    nothing = [sys.executable, "-c", "pass"]
    bare = timed(nothing)
    return [
        record("orca --help", "orca", timed(help_command), "s", None, {"python -c pass": timed(help_command) / bare}),
        record("import of the engine", "orca", timed(engine), "s", None, {"python -c pass": timed(engine) / bare}),
    ]


def timed(command: list[str]) -> float:
    """Return the median seconds of five runs, after one that fills the caches."""
    times = []
    for _ in range(6):
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def record(name: str, driver: str, value: float, unit: str, best: float | None, ratios: dict[str, float]) -> dict[str, Any]:
    """Return one record of results.json."""
    rounded = {to: round(ratio, 2) for to, ratio in ratios.items()}
    return {
        "name": name,
        "driver": driver,
        "value": round(value, 3),
        "best": None if best is None else round(best, 3),
        "unit": unit,
        "ratios": rounded,
    }


def machine() -> dict[str, Any]:
    """Say what this was measured on."""
    models = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


if __name__ == "__main__":
    main()
