"""SpreadSheetSwarm: the acceptance cases SPR-1, SPR-3, SPR-4 (SPR-5: times are in the journal's attempts)."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

ABC = [agent("A"), agent("B"), agent("C")]


def sheet(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "SpreadSheetSwarm", "agents": ABC, **fields}))


def test_spr_1_rows_run_together_and_see_nothing_of_each_other() -> None:
    world = sheet(max_loops=2)
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert (len(world.asked), world.most_open) == (6, 3)
    assert calls_at_most(world.item.spec) == 6
    assert not any("out(" in prompt(call) for call in world.asked)
    assert [message.role for message in output.output] == ["A", "B", "C"] * 2
    assert (output.tasks_completed, output.status) == (6, "success")


def test_spr_3_a_failed_row_has_its_error_and_does_not_count() -> None:
    world = sheet()
    world.answer = failing("B")
    _, output = world.run()
    assert [message.content is None for message in output.output] == [False, True, False]
    assert (output.tasks_completed, output.status) == (2, "partial")


def test_spr_4_each_row_has_its_own_task() -> None:
    world = sheet(task=None, tasks=["TA", "TB", "TC"])
    _, output = world.run()
    assert [[message.content for message in call.asked.messages] for call in world.asked] == [
        ["You are A.", "TA"],
        ["You are B.", "TB"],
        ["You are C.", "TC"],
    ]
    assert [(message.role, message.task) for message in output.output] == [("A", 0), ("B", 1), ("C", 2)]


@pytest.mark.parametrize("tasks", [["TA"], ["T"] * 4])
def test_spr_4_a_different_number_of_tasks_is_refused(tasks: list[str]) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(sheet(task=None, tasks=tasks).item.spec)
    assert (caught.value.code, caught.value.detail.split(":")[0]) == ("tasks_mismatch", "tasks")


def test_a_prompt_is_written_for_the_rows_own_task() -> None:
    world = sheet(task=None, tasks=["TA", "TB", "TC"], agents=[*ABC[:2], agent("C", auto_generate_prompt=True)])
    world.run()
    assert "Task of the swarm: TC" in prompt(world.asked[0])
    assert "TA" not in prompt(world.asked[0])


def test_a_table_of_failures_is_the_last_one() -> None:
    world = sheet(max_loops=3)
    world.answer = failing("A", "B", "C")
    _, output = world.run()
    assert (len(world.asked), output.status, output.tasks_completed) == (3, "error", 0)
