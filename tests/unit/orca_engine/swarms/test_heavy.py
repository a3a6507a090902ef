"""HeavySwarm: four questions, four specialists, a synthesis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import LEAD, World, agent, deciding, failing, item_of, out, prompt, saying


def heavy(**fields: Any) -> World:
    item = item_of(**{"swarm_type": "HeavySwarm", "lead": LEAD, **fields})
    return World(item, answer=deciding(item))


def test_questions_then_specialists_together_then_the_synthesis() -> None:
    world = heavy()
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Lead", "Research", "Analysis", "Alternatives", "Verification", "Lead"]
    assert world.most_open == 4
    assert calls_at_most(world.item.spec) == 7
    assert "TASK" in prompt(world.asked[1])
    assert world.asked[1].asked.messages[-1].content == "Your question: question of research"
    assert "question of analysis" not in prompt(world.asked[1])
    assert all(f"{name}: out({name}," in prompt(world.asked[-1]) for name in ("Research", "Verification"))
    assert output.output[0].content == (
        "- Research: question of research\n- Analysis: question of analysis\n"
        "- Alternatives: question of alternatives\n- Verification: question of verification"
    )
    assert output.output[-1].role == "Lead"


def test_questions_that_cannot_be_read_twice_are_an_error() -> None:
    world = heavy()
    world.answer = out
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)


def test_a_failed_specialist_is_left_out() -> None:
    world = heavy()
    good = world.answer
    world.answer = lambda call: failing("Research")(call) if call.name == "Research" else good(call)
    _, output = world.run()
    assert output.status == "partial"


def test_without_any_specialist_there_is_no_synthesis_and_it_is_an_error() -> None:
    world = heavy()
    good = world.answer
    world.answer = lambda call: good(call) if call.name == "Lead" else failing(call.name)(call)
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 5)


def test_it_lists_no_agents() -> None:
    with pytest.raises(InvalidError, match="agents: HeavySwarm makes its own"):
        admit(heavy(agents=[agent("A")]).item.spec)


def test_a_question_that_asks_nothing_is_pointed_out() -> None:
    world = heavy()
    good, blank = world.answer, {"research": "r", "analysis": "a", "alternatives": "", "verification": "v"}
    world.answer = lambda call: saying(call, json.dumps(blank)) if call.path == (1, 0, 0, 0, 0) else good(call)
    _, output = world.run()
    assert "answer.alternatives must be a string that is not blank." in prompt(world.asked[1])
    assert (output.status, len(world.asked)) == ("success", 7)
