"""DebateWithJudge: one for, one against, one judge."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

ABC = [agent("A"), agent("B"), agent("C")]


def debate(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "DebateWithJudge", "agents": ABC, **fields}))


def test_for_then_against_then_the_judge_each_having_read_the_others() -> None:
    world = debate(max_loops=2)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"] * 2
    assert len(world.asked) == calls_at_most(world.item.spec)
    last = [call.asked.messages[-1].content for call in world.asked[:3]]
    assert ["You argue for" in last[0], "You argue against" in last[1], "You judge" in last[2]] == [True] * 3
    assert "A: out(A,1.0.0.0.0)" in prompt(world.asked[1])
    assert all(words in prompt(world.asked[2]) for words in ("out(A,1.0.0.0.0)", "out(B,1.1.0.0.0)"))
    assert "C: out(C,1.2.0.0.0)" in prompt(world.asked[3])
    assert [message.role for message in output.output] == ["A", "B", "C"] * 2


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_takes_exactly_three(count: int) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(debate(agents=[agent(f"A{n}") for n in range(count)]).item.spec)
    assert caught.value.code == ("agents_too_few" if count < 3 else "agents_too_many")
    assert "3 agents" in caught.value.detail


def test_a_side_that_fails_ends_the_debate() -> None:
    world = debate()
    world.answer = failing("B")
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)
