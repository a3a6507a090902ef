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
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.cells import WORKLOADS
from tests.bench.claims import claims
from tests.bench.environments import PEERS, QUIET, python_of
from tests.bench.model_server import ModelServer, model_server
from tests.bench.report import write_report

ROOT = Path(__file__).parents[2]
LATENCY_MS = 50.0
#: long enough that all agents are asked before the first is answered
SLOW_MS = 8000.0
WAIT_SECONDS = 5
OURS = ("orca", "orca-postgres", "bare")
PEERS_WORKLOADS = ("con10", "con200", "seq10")
_PACKAGES = ("httptools", "uvloop", "fastapi", "psycopg", "pydantic", "rfc8785")

Cell = dict[str, Any]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="measure what orchestration costs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=2, help="how often the drivers take turns")
    parser.add_argument("--workloads", nargs="*", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--no-peers", action="store_true", help="measure only ours")
    parser.add_argument("--no-claims", action="store_true", help="leave the middle server out")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    peers, skipped = pythons([] if given.no_peers else given.peers)
    figures = [*commands(), *workloads(given.workloads, peers, skipped, given.repeats, given.rounds), *memory()]
    if not given.no_claims:
        figures += claims()
    results = {"machine": machine() | {"load_before": load}, "latency_ms": LATENCY_MS, "figures": figures, "skipped": skipped}
    print(write_report(results, given.out))


def pythons(peers: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the Pythons of the peers that could be installed, and why others could not."""
    found, skipped = {}, {}
    for peer in peers:
        print(f"  {peer}: {', '.join(PEERS[peer])}", file=sys.stderr)
        try:
            found[peer] = python_of(peer)
        except OSError as error:
            skipped[peer] = str(error)
    return found, skipped


def workloads(names: list[str], peers: dict[str, Path], skipped: dict[str, str], repeats: int, rounds: int) -> list[dict[str, Any]]:
    """Measure every driver on every workload; a peer that fails is left out and said to be."""
    figures = []
    with model_server(LATENCY_MS, core=0 if _cores() > 1 else None) as server:
        for name in names:
            drivers = [*OURS, *(peers if name in PEERS_WORKLOADS else ())]
            cells: dict[str, list[Cell]] = {driver: [] for driver in drivers}
            for _ in range(rounds):
                for driver in [driver for driver in drivers if f"{driver} {name}" not in skipped]:
                    try:
                        cells[driver].append(cell(driver, peers.get(driver), name, server, repeats))
                    except (OSError, subprocess.TimeoutExpired) as error:
                        if driver in OURS:
                            raise
                        skipped[f"{driver} {name}"] = str(error)
                        continue
                    print(f"  {name} {driver}: {min(cells[driver][-1]['wall_ms']):.0f} ms at best", file=sys.stderr)
            figures += [figure for driver in drivers if cells[driver] for figure in figures_of(name, driver, cells)]
    return figures


def cell(driver: str, python: Path | None, workload: str, server: ModelServer, repeats: int) -> Cell:
    """Measure one cell in a process of its own. Raises OSError if it fails, or did not make the calls that it should."""
    module = f"tests.bench.peers.{driver}" if python else f"tests.bench.cells {driver}"
    server.stats()
    measured = ran([str(python or sys.executable), "-m", *module.split(), workload, server.url, str(repeats)])
    seen = server.stats()
    calls = WORKLOADS[workload][3] * (repeats + 1)
    if seen["calls"] != calls:
        raise OSError(f"{seen['calls']} calls were made instead of {calls}")
    return measured | {"in_flight": seen["in_flight_max"], "late_ms": seen["late_ms"]}


def ran(command: list[str]) -> Cell:
    """Run ``command`` on the core that the model server leaves, and return what it printed. Raises OSError if it fails."""
    pinned = ["taskset", "-c", "1", *command] if _cores() > 1 else command
    done = subprocess.run(pinned, cwd=ROOT, env=os.environ | QUIET, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise OSError(" ".join(done.stderr.split())[-300:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def figures_of(workload: str, driver: str, cells: dict[str, list[Cell]]) -> list[dict[str, Any]]:
    """Return the records of one driver on one workload, with their ratios to the limit and to our client alone."""
    limit = LATENCY_MS * WORKLOADS[workload][4]

    def middle(who: str, what: str) -> float:
        return float(statistics.median(value for one in cells[who] for value in one[what]))

    def best(what: str) -> float:
        return float(min(value for one in cells[driver] for value in one[what]))

    wall, cpu, mine = middle(driver, "wall_ms"), middle(driver, "cpu_ms"), cells[driver]
    to = {"limit": wall / limit, "bare": wall / middle("bare", "wall_ms")}
    return [
        record(f"{workload} wall", driver, wall, "ms", best("wall_ms"), to),
        record(f"{workload} CPU per call", driver, cpu, "ms", best("cpu_ms"), {"bare": cpu / middle("bare", "cpu_ms")}),
        record(f"{workload} resident", driver, max(one["rss_mb"] for one in mine), "MB", None, {}),
        record(f"{workload} in flight", driver, max(one["in_flight"] for one in mine), "calls", None, {}),
    ]


def memory() -> list[dict[str, Any]]:
    """Measure what agents hold that wait for their models."""
    figures = []
    with model_server(SLOW_MS, core=None) as server:
        for name in ("con200", "con2000"):
            command = [sys.executable, "-m", "tests.bench.cells", "waiting", name, server.url, str(WAIT_SECONDS)]
            what = f"memory of each of {WORKLOADS[name][3]} waiting agents"
            figures.append(record(what, "orca", float(ran(command)["kb_per_agent"]), "kB", None, {}))
    return figures


def _cores() -> int:
    return os.cpu_count() or 1


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
    """Return the median seconds of seven runs, after one that compiles (into a folder that is lent)."""
    times = []
    with tempfile.TemporaryDirectory() as compiled:
        keeping = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for _ in range(8):
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=keeping | {"PYTHONPYCACHEPREFIX": compiled})
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
