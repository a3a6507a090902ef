"""Every example can be run as it stands, there is one for each swarm type, and the page of swarm types has a row for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orca_engine.program import admit
from orca_engine.swarms import SWARMS
from orca_protocol.spec import SwarmSpec, read_spec
from tests.house.repository import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.json"))


def spec_of(path: Path) -> SwarmSpec:
    return read_spec(path.read_bytes(), where=path.name)


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_admitted_and_small(path: Path) -> None:
    spec = spec_of(path)
    admit(spec)
    assert spec.model_names == ("gpt-4o",)
    assert all(agent.max_tokens <= 200 for agent in spec.agents)
    assert spec.lead is None or spec.lead.max_tokens <= 600


def test_every_swarm_type_has_an_example() -> None:
    assert {spec_of(path).canonical_type for path in EXAMPLES} == set(SWARMS)


def test_every_swarm_type_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "swarms.md").read_text(), flags=re.MULTILINE)
    assert rows[: len(SWARMS)] == list(SWARMS)
