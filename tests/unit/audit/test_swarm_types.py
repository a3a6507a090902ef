"""A proof of any swarm type is sound, and a decision that was edited afterwards is not."""

from __future__ import annotations

import json

import pytest

from orca_engine.item import Item
from orca_engine.swarms import SWARMS
from tests.unit.audit.packages import package, verdicts
from tests.unit.orca_engine.worlds import World, agent, deciding, spec_of

AGENTS = [agent("A"), agent("B -> C, 日本", auto_generate_prompt=True), agent("Ω", max_loops=2)]


@pytest.mark.parametrize("name", SWARMS)
def test_an_honest_proof_is_sound_and_one_with_an_edited_answer_is_not(name: str) -> None:
    spec = json.dumps({"task": "TASK", **spec_of(name, AGENTS)}).encode()
    item = Item.local(spec)
    entries, output = World(item, answer=deciding(item)).run()
    files = package(entries, spec=spec)
    found = verdicts(files)
    assert [found[check] for check in ("integrity", "authenticity", "replay")] == [("valid", "ok")] * 3
    first = min(entries, key=lambda entry: entry.path)
    assert first.answer is not None
    edited = first.model_copy(update={"answer": first.answer.model_copy(update={"content": "another answer"})})
    forged = package([edited, *(entry for entry in entries if entry is not first)], spec=spec, output=output)
    assert verdicts(forged)["replay"][0] == "mismatch"
