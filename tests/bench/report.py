"""From the figures to the two files that anyone can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_HEAD = """# What orchestration costs

Written by `make bench`; do not edit. Every figure of one run, on one machine, drivers taking turns. `bare` is our client alone:
it makes the same calls and keeps nothing: the practical limit. `orca` goes from the bytes of the spec to the output, with a
durable journal under it, in SQLite; `orca-postgres` has the same journal in an embedded PostgreSQL. *limit* is the model
server's latency ({latency:.0f} ms) times the length of the critical path.

Machine: {cpu}, {cores} cores, Python {python}; {versions}.
"""


def write_report(results: dict[str, Any], folder: Path) -> str:
    """Write results.json and README.md into ``folder`` and return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = "\n".join(["| figure | driver | median | best | ratios |", "|---|---|--:|--:|---|", *map(_row, results["figures"])])
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    head = _HEAD.format(
        latency=results["latency_ms"], cpu=machine["cpu"], cores=machine["cores"], python=machine["python"], versions=versions
    )
    (folder / "README.md").write_text(f"{head}\n{table}\n")
    return table


def _row(figure: dict[str, Any]) -> str:
    ratios = ", ".join(f"{ratio:.2f} x {to}" for to, ratio in figure["ratios"].items())
    best = "" if figure["best"] is None else f"{_number(figure['best'])} {figure['unit']}"
    return f"| {figure['name']} | {figure['driver']} | {_number(figure['value'])} {figure['unit']} | {best} | {ratios} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
