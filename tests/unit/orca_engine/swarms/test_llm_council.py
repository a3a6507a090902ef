"""LLMCouncil: answers, anonymous rankings, a chairman."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, prompt, saying

ABC = [agent("A"), agent("B"), agent("C", model_name="mc")]


def council(**fields: Any) -> World:
    world = World(item_of(**{"swarm_type": "LLMCouncil", "agents": ABC, **fields}))
    world.answer = lambda call: saying(call, f"answer number {call.path.visit}") if call.path.step == 0 else out(call)
    return world


def test_all_answer_all_rank_without_names_and_the_chairman_concludes() -> None:
    world = council()
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C", "A", "B", "C", "Chairman"]
    assert len(world.asked) == calls_at_most(world.item.spec)
    assert world.most_open == 3
    for call in world.asked[3:6]:
        assert "Answer 2:\nanswer number 1" in prompt(call)
        assert not any(message.role == "assistant" for message in call.asked.messages)
        assert "A:" not in prompt(call)
    chair = prompt(world.asked[-1])
    assert all(words in chair for words in ("A: answer number 0", "B: out(B,1.1.1.0.0)", "Answer 3 is by C."))
    assert world.asked[-1].asked.model == "mc"
    assert [message.role for message in output.output] == ["A", "B", "C", "A", "B", "C", "Chairman"]
    assert output.status == "success"


def test_a_failed_answer_is_not_ranked() -> None:
    world = council()
    good = world.answer

    def answer(call: Call) -> Any:
        return failing("A")(call) if call.name == "A" and call.path.step == 0 else good(call)

    world.answer = answer
    _, output = world.run()
    assert "Answer 3" not in prompt(world.asked[4])
    assert "Answer 1 is by B. Answer 2 is by C." in prompt(world.asked[-1])
    assert output.status == "partial"


def test_without_answers_or_without_a_chairman_it_is_an_error() -> None:
    world = council()
    world.answer = failing("A", "B", "C")
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 3)
    world = council(lead={"agent_name": "Chair", "model_name": "m"})
    world.answer = failing("Chair")
    _, output = world.run()
    assert (output.status, len(world.asked), output.output[-1].role) == ("error", 7, "Chair")


def test_one_agent_or_more_loops_are_refused() -> None:
    with pytest.raises(InvalidError, match="agents: LLMCouncil needs at least 2"):
        admit(council(agents=ABC[:1]).item.spec)
    with pytest.raises(InvalidError, match="max_loops: LLMCouncil"):
        admit(council(max_loops=2).item.spec)
