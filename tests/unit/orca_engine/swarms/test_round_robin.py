"""RoundRobin: each agent in turn, and each knows who speaks before and after it."""

from __future__ import annotations

from typing import Any

from orca_engine.program import calls_at_most
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

ABC = [agent("A"), agent("B"), agent("C")]


def table(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "RoundRobin", "agents": ABC, **fields}))


def test_each_agent_speaks_in_turn_with_the_whole_transcript() -> None:
    world = table(max_loops=2)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"] * 2
    assert world.most_open == 1
    assert len(world.asked) == calls_at_most(world.item.spec)
    assert "You are agent 2 of 3, B. Before you speaks A, after you C." in world.asked[1].asked.messages[-1].content
    assert all(f"out({name},1.{step}.0.0.0)" in prompt(world.asked[3]) for step, name in enumerate("ABC"))
    assert [message.role for message in output.output] == ["A", "B", "C"] * 2


def test_one_agent_has_no_neighbours() -> None:
    world = table(agents=ABC[:1])
    world.run()
    assert "You are agent 1 of 1, A. It is your turn" in prompt(world.asked[0])


def test_who_fails_misses_a_turn() -> None:
    world = table(max_loops=2)
    world.answer = failing("B")
    _, output = world.run()
    assert (len(world.asked), output.status) == (6, "partial")
