"""HierarchicalSwarm: the acceptance cases HIE-1 to HIE-7."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import calls_at_most
from tests.unit.orca_engine.worlds import World, agent, asks, failing, item_of, out, prompt, saying

ABC = [agent("A", description="does a", model_name="ma"), agent("B", description="does b"), agent("C", description="does c")]


def plan(*names: str) -> str:
    return json.dumps({"plan": "the plan", "orders": [{"agent_name": name, "task": f"order for {name}"} for name in names]})


def led(*plans: str, **fields: Any) -> World:
    """A world whose director gives these plans, the last one for ever."""
    world = World(item_of(**{"swarm_type": "HierarchicalSwarm", "agents": ABC, **fields}))
    left = list(plans) or [plan("A", "B", "C")]
    world.answer = lambda call: saying(call, left.pop(0) if len(left) > 1 else left[0]) if asks(call, '"orders"') else out(call)
    return world


def test_hie_1_the_director_plans_and_the_agents_work_side_by_side() -> None:
    world = led()
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "A", "B", "C", "Director"]
    assert world.most_open == 3
    assert all(f"- {name}: does {name.lower()}" in prompt(world.asked[0]) for name in "ABC")
    assert world.asked[1].asked.messages[-1].content == "The director's order for you: order for A"
    assert "TASK" in prompt(world.asked[1])
    assert "out(B" not in prompt(world.asked[1])
    assert [message.role for message in output.output] == ["Director", "A", "B", "C", "Director"]
    assert output.output[0].content == "the plan\n- A: order for A\n- B: order for B\n- C: order for C"
    assert '{"plan"' not in prompt(world.asked[1])


def test_hie_2_the_director_has_the_last_word_and_has_read_everything() -> None:
    world = led()
    _, output = world.run()
    assert all(f"out({name},1.2.{place}.0.0)" in prompt(world.asked[-1]) for place, name in enumerate("ABC"))
    assert output.output[-1].content == "out(Director,1.3.0.0.0)"


def test_hie_2_synthesis_can_be_switched_off() -> None:
    world = led(synthesis=False)
    _, output = world.run()
    assert len(world.asked) == 4
    assert calls_at_most(world.item.spec) == 2 + 3
    assert output.output[-1].role == "C"


def test_hie_3_in_a_second_loop_the_director_reads_the_first_ones_answers() -> None:
    world = led(max_loops=2)
    world.run()
    plans = [call for call in world.asked if asks(call, '"orders"')]
    assert len(plans) == 2
    assert "A: out(A,1.2.0.0.0)" in prompt(plans[1])
    assert len(world.asked) == 2 * (1 + 3) + 1 <= calls_at_most(world.item.spec) == 2 * (2 + 3) + 1


def test_hie_4_an_unknown_agent_is_pointed_out_once_then_skipped_and_listed() -> None:
    world = led(plan("A", "Z"))
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "Director", "A", "Director"]
    assert 'No agent is named "Z"' in prompt(world.asked[1])
    assert output.notes is not None
    assert [(note.code, '"Z"' in note.detail) for note in output.notes] == [("order_skipped", True)]
    assert output.status == "partial"


def test_hie_4_of_many_unknown_agents_a_few_are_named() -> None:
    _, output = led(plan("A", *(f"Z{n}" for n in range(15)))).run()
    assert output.notes is not None
    assert [note.detail for note in output.notes] == [
        f"loop 1: no agent is named {', '.join(json.dumps(f'Z{n}') for n in range(10))} and 5 more"
    ]


def test_hie_4_a_repaired_plan_runs_whole() -> None:
    world = led(plan("A", "Z"), plan("A", "B"))
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "Director", "A", "B", "Director"]
    assert (output.status, output.notes) == ("success", None)


def doubted(second: Callable[[Call], Any], **fields: Any) -> World:
    """A world whose director orders somebody unknown beside A, and whose answer to the repair question is ``second``."""
    world = led(plan("A", "Z"), **fields)
    good = world.answer
    world.answer = lambda call: second(call) if call.path.step == 1 else good(call)
    return world


@pytest.mark.parametrize(
    "second", [lambda call: saying(call, "Sorry, you are right."), lambda call: saying(call, plan("Z")), failing("Director")]
)
def test_hie_4_a_usable_plan_runs_where_its_repair_is_no_better(second: Callable[[Call], Any]) -> None:
    world = doubted(second)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "Director", "A", "Director"]
    assert output.notes is not None
    assert [note.code for note in output.notes] == ["order_skipped"]
    assert output.status == "partial"


def test_hie_4_a_usable_plan_runs_where_the_budget_has_no_room_for_its_repair() -> None:
    lead, budget = {"model_name": "m", "max_tokens": 77}, {"output_tokens": 77}
    world = doubted(out, synthesis=False, agents=[agent("A", max_tokens=4)], lead=lead, budget=budget)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "A"]
    assert (output.status, output.stopped) == ("partial", None)


def test_hie_4_a_cancelled_repair_ends_the_run() -> None:
    world = doubted(out)
    world.stop_after = 1
    _, output = world.run()
    assert (len(world.asked), output.status, output.stopped) == (1, "error", "cancelled")


def test_an_order_that_says_nothing_is_pointed_out() -> None:
    blank = json.dumps({"plan": "the plan", "orders": [{"agent_name": "A", "task": " "}]})
    world = led(blank, plan("A"))
    world.run()
    assert "answer.orders[0].task must be a string that is not blank." in prompt(world.asked[1])
    assert world.asked[2].asked.messages[-1].content == "The director's order for you: order for A"


@pytest.mark.parametrize("wrong", [plan(), plan("Z"), "A should do it.", plan("A", "A"), '{"plan": "p"}'])
def test_hie_5_no_orders_or_no_plan_twice_is_an_error_and_no_empty_success(wrong: str) -> None:
    world = led(wrong)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Director", "Director"]
    assert output.status == "error"
    assert output.output[0].error is not None
    assert output.output[0].error.code == "decision_unreadable"


def test_hie_6_a_failed_agent_is_left_out_and_the_others_kept() -> None:
    world = led(max_loops=2)
    good = world.answer
    world.answer = lambda call: failing("B")(call) if call.name == "B" else good(call)
    _, output = world.run()
    assert output.status == "partial"
    assert [call.name for call in world.asked].count("B") == 2  # once a loop: whoever fails is not asked twice for one order
    assert output.output[1].content == "out(A,1.2.0.0.0)"
    assert output.output[2].error is not None


def test_when_all_that_were_ordered_fail_the_run_is_an_error() -> None:
    world = led(plan("B"))
    good = world.answer
    world.answer = lambda call: failing("B")(call) if call.name == "B" else good(call)
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)


@pytest.mark.parametrize("name", ["HiearchicalSwarm", "HierarchicalSwarm"])
def test_hie_7_both_spellings_run_and_the_given_one_is_echoed(name: str) -> None:
    world = led(swarm_type=name)
    _, output = world.run()
    assert len(world.asked) == 5
    assert (output.swarm_type, output.resolved_swarm_type) == (name, "HierarchicalSwarm")


def test_the_director_has_the_first_agents_model_unless_the_spec_names_another() -> None:
    world = led()
    world.run()
    assert world.asked[0].asked.model == "ma"
    world = led(lead={"model_name": "md"}, description="to build it")
    world.run()
    assert (world.asked[0].name, world.asked[0].asked.model) == ("Director", "md")
    assert "The purpose of this team: to build it" in prompt(world.asked[0])


def test_a_director_that_fails_in_the_end_leaves_an_error_with_the_work_done() -> None:
    def answer(call: Call) -> Any:
        return saying(call, plan("A")) if asks(call, '"orders"') else failing("Director")(call)

    world = led()
    world.answer = answer
    _, output = world.run()
    assert (output.status, len(output.output)) == ("error", 3)
