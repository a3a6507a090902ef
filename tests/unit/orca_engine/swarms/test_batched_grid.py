"""BatchedGridWorkflow: every agent does every task."""

from __future__ import annotations

from typing import Any

from orca_engine.program import calls_at_most
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

AB = [agent("A", max_loops=2), agent("B")]


def grid(**fields: Any) -> World:
    return World(
        item_of(**{"swarm_type": "BatchedGridWorkflow", "agents": AB, "task": None, "tasks": ["T1", "T2", "T3"], **fields})
    )


def test_all_cells_run_together_and_see_nothing_of_each_other() -> None:
    world = grid()
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert world.most_open == 6
    assert len(world.asked) == calls_at_most(world.item.spec) == 3 * (2 + 1)
    assert [(message.role, message.task) for message in output.output] == [(name, task) for task in range(3) for name in "AB"]
    assert all(sum(task in prompt(call) for task in ("T1", "T2", "T3")) == 1 for call in world.asked)
    assert (output.tasks_completed, output.status) == (6, "success")


def test_one_task_is_a_grid_of_one_column_and_loops_repeat_it() -> None:
    world = grid(task="TASK", tasks=None, max_loops=2)
    _, output = world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 2 * 3
    assert [(message.role, message.task) for message in output.output] == [("A", None), ("B", None)] * 2


def test_a_failed_cell_has_its_error() -> None:
    world = grid()
    world.answer = failing("B")
    _, output = world.run()
    assert (output.status, output.tasks_completed) == ("partial", 3)


def test_a_prompt_is_written_for_all_tasks() -> None:
    world = grid(agents=[agent("A", auto_generate_prompt=True)])
    world.run()
    assert "Task of the swarm: T1\nT2\nT3" in prompt(world.asked[0])
