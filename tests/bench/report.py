"""From the figures to the two files that anyone can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.environments import PEERS

#: where the plot's scale begins, in ms
_LEAST = 25.0

_HEAD = """# What orchestration costs

Written by `make bench`; do not edit. Every figure of one run, on one machine, drivers taking turns, the model server on one core
and what is measured on another. `orca` goes from the bytes of the spec to the output, with a durable journal under it, in SQLite;
`orca-postgres` has the same journal in an embedded PostgreSQL, which works beside the model server. `bare` is our HTTP client
alone, `aiohttp` another one alone: they make the same calls and keep nothing. The other peers keep nothing either; how each is
used stands in `tests/bench/peers`. *limit* is the model server's latency ({latency:.0f} ms) times the length of the critical path.

Machine: {cpu}, {cores} cores, load {load:.1f} before the run, Python {python}; {versions}. Peers: {peers}.

![200 agents at once](con200.svg)

{bars}
"""

#: what is promised: figure, driver, ratio to the limit or None for the value itself, at most
_BARS = (
    ("con200 wall", "orca", "limit", 1.45),
    ("multi20x10 wall", "orca", "limit", 1.45),
    ("seq10 wall", "orca", "limit", 1.03),
    ("moa10 wall", "orca", "limit", 1.06),
    ("con200 wall", "orca-postgres", "limit", 1.8),
    ("con200 CPU per call", "orca", None, 0.3),
    ("con2000 CPU per call", "orca", "con200", 1.0),
    ("import of the engine", "orca", None, 0.3),
    ("memory of each of 2000 waiting agents", "orca", None, 50.0),
)


def write_report(results: dict[str, Any], folder: Path) -> str:
    """Write results.json and README.md into ``folder`` and return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = "\n".join(["| figure | driver | median | best | ratios |", "|---|---|--:|--:|---|", *map(_row, results["figures"])])
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    skipped = "".join(f"; {name} is left out ({why})" for name, why in results["skipped"].items())
    head = _HEAD.format(
        latency=results["latency_ms"],
        cpu=machine["cpu"],
        cores=machine["cores"],
        python=machine["python"],
        versions=versions,
        load=machine["load_before"],
        peers="; ".join(" ".join(packages) for packages in PEERS.values()) + skipped,
        bars="\n".join(["| promised | at most | measured | |", "|---|--:|--:|---|", *_bars(results["figures"])]),
    )
    (folder / "README.md").write_text(f"{head}\n{table}\n")
    (folder / "con200.svg").write_text(plot("200 agents at once, ms from spec to output", _walls(results["figures"])))
    return table


def _bars(figures: list[dict[str, Any]]) -> Iterator[str]:
    """Give a row for each promise that was measured."""
    known = {(figure["name"], figure["driver"]): figure for figure in figures}
    for name, driver, to, most in _BARS:
        figure = known.get((name, driver))
        if figure is None:
            continue
        if to == "con200":
            other = known.get(("con200 CPU per call", driver))
            if other is None:
                continue
            value, unit = figure["value"] / other["value"], "x that of 200"
        else:
            value, unit = (figure["value"], figure["unit"]) if to is None else (figure["ratios"][to], f"x {to}")
        kept = "kept" if round(value, 2) <= most else "**missed**"
        yield f"| {name}, {driver} | {most:g} {unit} | {value:.2f} {unit} | {kept} |"


def _walls(figures: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return sorted(((one["driver"], one["value"]) for one in figures if one["name"] == "con200 wall"), key=lambda pair: pair[1])


def plot(title: str, bars: list[tuple[str, float]]) -> str:
    """Return a bar chart as SVG; the scale is logarithmic, for the slowest takes a hundred times as long."""
    most = math.log10(max((value for _, value in bars), default=1.0) / _LEAST)
    rows = []
    for number, (name, value) in enumerate(bars):
        top, width = 40 + 24 * number, 480 * math.log10(max(value, _LEAST) / _LEAST) / max(most, 0.01)
        colour = "#1a7f64" if name.startswith("orca") else "#8a8f98"
        rows.append(f'<text x="130" y="{top + 12}" text-anchor="end">{name}</text>')
        rows.append(f'<rect x="138" y="{top}" width="{width:.0f}" height="16" fill="{colour}"/>')
        rows.append(f'<text x="{144 + width:.0f}" y="{top + 12}">{value:,.0f}</text>')
    height = 56 + 24 * len(bars)
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" font-family="sans-serif" font-size="12">'
    back = f'<rect width="700" height="{height}" fill="white"/><text x="10" y="22" font-size="14">{title}</text>'
    return "\n".join([start, back, *rows, "</svg>", ""])


def _row(figure: dict[str, Any]) -> str:
    ratios = ", ".join(f"{ratio:.2f} x {to}" for to, ratio in figure["ratios"].items())
    best = "" if figure["best"] is None else f"{_number(figure['best'])} {figure['unit']}"
    return f"| {figure['name']} | {figure['driver']} | {_number(figure['value'])} {figure['unit']} | {best} | {ratios} |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
