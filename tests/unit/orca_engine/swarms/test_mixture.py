"""MixtureOfAgents: the acceptance cases MOA-1 to MOA-3, MOA-5, MOA-6 (of MOA-3 the width; wall time is the bench's)."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

ABC = [agent("A"), agent("B"), agent("C")]


def layered(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "MixtureOfAgents", "agents": ABC, **fields}))


def test_moa_1_workers_together_then_the_last_one_reads_all() -> None:
    world = layered()
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"]
    assert world.most_open == 2
    assert all("out(" not in prompt(call) for call in world.asked[:2])
    assert all(words in prompt(world.asked[2]) for words in ("TASK", "A: out(A,1.0.0.0.0)", "B: out(B,1.0.1.0.0)"))
    assert [message.role for message in output.output] == ["A", "B", "C"]
    assert output.status == "success"


def test_moa_2_a_later_layer_reads_the_layer_before_and_the_aggregator_every_layer() -> None:
    world = layered(max_loops=3)
    world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 7
    third = prompt(next(call for call in world.asked if call.name == "A" and call.path.loop == 3))
    assert "out(A,2.0.0.0.0)" in third
    assert "B: out(B,2.0.1.0.0)" in third
    assert "out(A,1.0.0.0.0)" not in third
    last = prompt(world.asked[-1])
    assert all(f"out({name},{loop}.0.{place}.0.0)" in last for loop in (1, 2, 3) for place, name in enumerate("AB"))


def test_moa_3_all_workers_are_in_flight_together() -> None:
    world = layered(agents=[agent(f"W{n}") for n in range(10)] + [agent("Z")])
    world.run()
    assert world.most_open == 10


def test_moa_5_one_agent_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        admit(layered(agents=ABC[:1]).item.spec)
    assert (caught.value.code, caught.value.detail) == ("agents_too_few", "agents: MixtureOfAgents needs at least 2 agents, not 1")


def test_moa_6_the_aggregator_is_the_last_listed_whoever_was_ready_first() -> None:
    world = layered()
    world.order = lambda calls: len(calls) - 1
    world.run()
    assert world.asked[-1].name == "C"


def test_a_failed_worker_is_left_out_and_a_failed_aggregator_is_an_error() -> None:
    world = layered()
    world.answer = failing("A")
    _, output = world.run()
    assert output.status == "partial"
    assert "fails" not in prompt(world.asked[-1])
    world = layered()
    world.answer = failing("C")
    _, output = world.run()
    assert (output.status, output.output[0].content) == ("error", "out(A,1.0.0.0.0)")


def test_a_layer_without_answers_is_an_error_and_nothing_is_aggregated() -> None:
    world = layered()
    world.answer = failing("A", "B")
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)
