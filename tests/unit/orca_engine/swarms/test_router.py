"""MultiAgentRouter: the acceptance cases MAR-1 to MAR-6."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from orca_protocol.model import Failure
from tests.unit.orca_engine.worlds import World, agent, item_of, out, prompt, saying

ABC = [
    agent("A", description="does a", model_name="ma", max_tokens=11),
    agent("B", description="does b"),
    agent("C", description="does c"),
]


def routed(*answers: Any, **fields: Any) -> World:
    """A world whose router gives these answers, one after the other."""
    world = World(item_of(**{"swarm_type": "MultiAgentRouter", "agents": ABC, **fields}))
    left = list(answers)

    def answer(call: Call) -> Any:
        if call.name in {agent["agent_name"] for agent in ABC}:
            return out(call)
        said = left.pop(0)
        return saying(call, said if isinstance(said, str) else json.dumps({"handoffs": said}))

    world.answer = answer
    return world


def to(name: str, task: Any = "T", **more: Any) -> dict[str, Any]:
    return {"agent_name": name, "task": task, **more}


def test_mar_1_the_chosen_agent_sees_its_task_alone() -> None:
    world = routed([to("B", "task for b", reasoning="it is best")])
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Router", "B"]
    assert all(f"- {name}: does {name.lower()}" in prompt(world.asked[0]) for name in "ABC")
    assert [message.content for message in world.asked[1].asked.messages] == ["You are B.", "task for b"]
    assert [message.role for message in output.output] == ["B"]
    assert output.status == "success"


def test_mar_2_several_hand_offs_run_together_and_all_answers_are_returned() -> None:
    world = routed([to("B"), to("C")])
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert (len(world.asked), world.most_open) == (3, 2)
    assert [message.role for message in output.output] == ["B", "C"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([to("Q")], 'answer.handoffs[0].agent_name names "Q", which is unknown; known are A, B, C.'),
        ([to("B"), to("B")], 'names "B" a second time'),
        ([], "answer.handoffs is empty"),
        ("I would ask B.", "not one strict JSON object (json_malformed)"),
        ('{"handoffs": [], "handoffs": []}', "(json_duplicate_key)"),
        ([to("B", 7)], "answer.handoffs[0].task must be a string"),
        ([{"agent_name": "B", "tsk": "x"}], 'answer.handoffs[0] has the unknown member "tsk"'),
        (["B"], "answer.handoffs[0] is no JSON object"),
        ("[]", "answer is no JSON object"),
    ],
)
def test_mar_3_a_wrong_hand_off_is_repaired_once_and_then_an_error_that_says_so(wrong: Any, says: str) -> None:
    world = routed(wrong, wrong)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Router", "Router"]
    assert says in prompt(world.asked[1])
    assert output.status == "error"
    (message,) = output.output
    assert (message.role, message.content) == ("Router", None)
    assert message.error is not None
    assert (message.error.code, says in message.error.detail) == ("decision_unreadable", True)


def test_mar_3_an_empty_answer_is_not_sent_back() -> None:
    world = routed(" ", [to("A")])
    world.run()
    assert [message.role for message in world.asked[1].asked.messages[-2:]] == ["user", "user"]


def test_mar_3_a_repaired_hand_off_counts() -> None:
    world = routed([to("Q")], [to("A")])
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Router", "Router", "A"]
    assert output.status == "success"
    repair = world.asked[1].asked.messages
    assert [message.role for message in repair[-3:]] == ["user", "assistant", "user"]


@pytest.mark.parametrize("task", ["", " ", None])
def test_mar_4_an_empty_task_is_the_original_one(task: str | None) -> None:
    world = routed([to("B", task)])
    world.run()
    assert [message.content for message in world.asked[1].asked.messages] == ["You are B.", "TASK"]


def test_mar_6_the_router_has_the_first_agents_model_unless_the_spec_names_another() -> None:
    world = routed([to("B")])
    world.run()
    assert (world.asked[0].asked.model, world.asked[0].asked.max_tokens) == ("ma", 11)
    world = routed([to("B")], lead={"agent_name": "Desk", "model_name": "mr"})
    world.run()
    assert (world.asked[0].name, world.asked[0].asked.model) == ("Desk", "mr")


def test_the_bound_counts_the_repair_and_every_agent() -> None:
    assert calls_at_most(routed().item.spec) == 2 + 3


def test_fences_around_the_decision_are_accepted() -> None:
    world = routed('```json\n{"handoffs": [{"agent_name": "B"}]}\n```')
    world.run()
    assert [call.name for call in world.asked] == ["Router", "B"]


def test_a_router_that_fails_is_an_error_and_nobody_else_is_asked() -> None:
    world = routed()
    world.answer = lambda call: Failure(code="down", detail="no router")
    _, output = world.run()
    assert (len(world.asked), output.status) == (1, "error")
    assert output.output[0].error == Failure(code="down", detail="no router")


def test_loops_are_refused_for_a_router_has_none() -> None:
    with pytest.raises(InvalidError, match="max_loops: MultiAgentRouter has no loops"):
        admit(routed(max_loops=2).item.spec)
