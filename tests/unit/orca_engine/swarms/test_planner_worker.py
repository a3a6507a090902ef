"""PlannerWorkerSwarm: a plan, workers in turn, a judgement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import calls_at_most, output_tokens_at_most
from tests.unit.orca_engine.worlds import World, agent, asks, failing, item_of, out, prompt, saying

AB = [agent("A", model_name="ma", max_tokens=10), agent("B", max_tokens=1)]


def planned(tasks: Any, *judgements: dict[str, Any], **fields: Any) -> World:
    world = World(item_of(**{"swarm_type": "PlannerWorkerSwarm", "agents": AB, **fields}))
    left = list(judgements)

    def answer(call: Call) -> Any:
        if asks(call, '{"tasks"'):
            return saying(call, json.dumps({"tasks": tasks}))
        return saying(call, json.dumps(left.pop(0))) if asks(call, '"done"') else out(call)

    world.answer = answer
    return world


DONE = {"done": True, "text": "the final answer"}


def test_tasks_are_dealt_in_listed_order_and_done_together() -> None:
    world = planned(["t1", "t2", "t3"], DONE)
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert world.most_open == 3
    worked = sorted(world.asked[1:-1], key=lambda call: call.path)
    assert [(call.name, call.asked.messages[-1].content) for call in worked] == [
        ("A", "Your task: t1"),
        ("B", "Your task: t2"),
        ("A", "Your task: t3"),
    ]
    assert (output.output[0].role, output.output[0].content) == ("Planner", "- t1\n- t2\n- t3")
    assert (output.output[-1].content, output.status) == ("the final answer", "success")
    assert "B: out(B,1.2.1.0.0)" in prompt(world.asked[-1])
    assert world.asked[0].asked.model == "ma"


def test_what_is_missing_leads_to_another_cycle_that_reads_it() -> None:
    world = planned(["t1"], {"done": False, "text": "more is needed"}, DONE, max_loops=3)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Planner", "A", "Planner"] * 2
    assert "more is needed" in prompt(world.asked[3])
    assert (output.status, output.notes) == ("success", None)


def test_an_unmet_goal_is_partial_and_said() -> None:
    world = planned(["t1"], {"done": False, "text": "more"})
    _, output = world.run()
    assert output.status == "partial"
    assert output.notes is not None
    assert output.notes[0].code == "goal_unmet"


@pytest.mark.parametrize("tasks", [[], ["t"] * 4, [""], ["t", " "], [1], "t"])
def test_a_plan_that_cannot_be_read_twice_is_an_error(tasks: Any) -> None:
    world = planned(tasks, plan_max=3)
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)


def test_the_ceiling_follows_from_the_cap_on_tasks() -> None:
    world = planned(["t"] * 3, {"done": False, "text": "more"}, DONE, plan_max=3, max_loops=2)
    world.run()
    assert calls_at_most(world.item.spec) == 2 * (4 + 3)
    assert output_tokens_at_most(world.item.spec) == 2 * (4 * 10 + 2 * 10 + 1)
    assert calls_at_most(planned([]).item.spec) == 4 + 10


def test_a_failed_task_is_left_out_and_a_cycle_of_failures_is_an_error() -> None:
    world = planned(["t1", "t2"], DONE)
    good = world.answer
    world.answer = lambda call: failing("A")(call) if call.name == "A" else good(call)
    _, output = world.run()
    assert output.status == "partial"
    world = planned(["t1"], DONE)
    good_too = world.answer
    world.answer = lambda call: failing("A")(call) if call.name == "A" else good_too(call)
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_judgement_without_words_is_no_result_and_is_pointed_out(is_done: bool) -> None:
    world = planned(["t1"], {"done": is_done, "text": ""}, DONE)
    _, output = world.run()
    assert "answer.text must be a string that is not blank." in prompt(world.asked[-1])
    assert (output.status, output.output[-1].content) == ("success", "the final answer")
    world = planned(["t1"], *[{"done": True, "text": " "}] * 2)
    _, output = world.run()
    assert (output.status, output.output[-1].content) == ("error", None)
