"""auto: the acceptance cases AUT-1, AUT-3, AUT-4."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_engine.swarms.auto import CHOICES
from orca_protocol.errors import InvalidError
from orca_protocol.model import Failure
from tests.unit.orca_engine.worlds import LEAD, TEAM, World, agent, asks, item_of, out, prompt, saying

ABC = [agent("A", description="does a"), agent("B", auto_generate_prompt=True), agent("C")]


def chosen(answer: str, **fields: Any) -> World:
    world = World(item_of(**{"swarm_type": "auto", "agents": ABC, **fields}))
    said = json.dumps({"swarm_type": answer})
    world.answer = lambda call: saying(call, said) if asks(call, "the name of the way") else out(call)
    return world


def test_aut_1_the_selector_chooses_and_the_type_that_ran_is_told() -> None:
    world = chosen("ConcurrentWorkflow")
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Selector", "B", "A", "B", "C"]  # B's prompt is written first
    assert "- A: does a" in prompt(world.asked[0])
    assert (output.swarm_type, output.resolved_swarm_type, output.status) == ("auto", "ConcurrentWorkflow", "success")
    assert (output.notes, output.generated_spec) == (None, None)
    assert [message.role for message in output.output] == ["A", "B", "C"]


@pytest.mark.parametrize("kind", CHOICES)
def test_aut_1_every_type_that_can_be_chosen_runs_within_the_ceiling(kind: str) -> None:
    for fields in ({}, {"lead": LEAD}):
        world = chosen(kind, **fields)
        _, output = world.run()
        assert output.resolved_swarm_type == kind
        assert len(world.asked) <= calls_at_most(world.item.spec)


def test_aut_1_a_type_that_cannot_do_what_the_spec_says_is_not_offered() -> None:
    world = chosen("MultiAgentRouter", max_loops=2)
    _, output = world.run()
    assert "MultiAgentRouter" not in prompt(world.asked[0])
    assert output.resolved_swarm_type == "SequentialWorkflow"


@pytest.mark.parametrize("answer", ["Nonsense", "auto"])
def test_aut_1_a_choice_that_cannot_be_read_falls_back_openly(answer: str) -> None:
    world = chosen(answer)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Selector", "Selector", "B", "A", "B", "C"]
    assert (output.resolved_swarm_type, output.status) == ("SequentialWorkflow", "partial")
    assert output.output[0].error is not None
    assert (output.output[0].role, output.output[0].error.code) == ("Selector", "decision_unreadable")
    assert output.notes is not None
    assert output.notes[0].code == "fallback"


def test_aut_1_a_selector_that_fails_falls_back_openly_too() -> None:
    world = chosen("")
    world.answer = lambda call: Failure(code="down", detail="no") if call.name == "Selector" else out(call)
    _, output = world.run()
    assert (output.resolved_swarm_type, output.status, output.output[0].role) == ("SequentialWorkflow", "partial", "Selector")


def test_a_stopped_selector_ends_the_run() -> None:
    world = chosen("ConcurrentWorkflow")
    world.stop_after = 0
    _, output = world.run()
    assert (output.status, output.stopped, len(output.output)) == ("error", "cancelled", 1)


def test_aut_3_a_flow_and_a_single_agent_need_no_selector() -> None:
    world = chosen("", rearrange_flow="A -> C")
    _, output = world.run()
    assert ([call.name for call in world.asked], output.resolved_swarm_type) == (["A", "C"], "AgentRearrange")
    world = chosen("", agents=ABC[:1])
    _, output = world.run()
    assert ([call.name for call in world.asked], output.resolved_swarm_type) == (["A"], "SequentialWorkflow")


def test_aut_4_without_agents_it_is_a_builder() -> None:
    world = World(item_of(swarm_type="auto", lead=LEAD))
    world.answer = lambda call: saying(call, json.dumps(TEAM)) if asks(call, "Design a team") else out(call)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Builder", "X", "Y"]
    assert (output.swarm_type, output.resolved_swarm_type) == ("auto", "SequentialWorkflow")
    assert output.generated_spec is not None
    with pytest.raises(InvalidError, match="lead: AutoSwarmBuilder"):
        admit(item_of(swarm_type="auto").spec)


def test_what_the_settled_type_has_no_use_for_is_refused() -> None:
    with pytest.raises(InvalidError, match="lead: SequentialWorkflow does not use it"):
        admit(chosen("", agents=ABC[:1], lead=LEAD).item.spec)
    with pytest.raises(InvalidError, match="tasks: auto decides for one task"):
        admit(chosen("", task=None, tasks=["T"]).item.spec)
