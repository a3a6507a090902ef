"""BatchedGridWorkflow: every agent does every task, all cells of the grid side by side, none sees another.

The output stands task by task, within a task in the agents' listed order. The grid is done ``max_loops`` times, a later time
without memory of an earlier one. A failed cell has its error; a whole grid of failures ends the run.
Calls: max_loops x the number of tasks x the sum of the agents' own loops; a grid's cells in flight together.
"""

from __future__ import annotations

from collections.abc import Sequence

from orca_engine.swarm import Ended, Swarm
from orca_engine.swarm_type import SwarmType, every_agent
from orca_engine.table import fill
from orca_protocol.spec import SwarmSpec


async def batched_grid(swarm: Swarm) -> Ended:
    """Fill the grid."""
    return await fill(swarm, [(agent, task) for task in _columns(swarm.spec) for agent in swarm.agents])


def _columns(spec: SwarmSpec) -> Sequence[int | None]:
    return [None] if spec.tasks is None else range(len(spec.tasks))


def _task_of(spec: SwarmSpec, _place: int) -> str:
    return spec.asked if spec.tasks is None else "\n".join(spec.tasks)


BATCHED_GRID = SwarmType(
    run=batched_grid,
    visits=every_agent(lambda spec: spec.max_loops * len(_columns(spec))),
    tasks="own",
    task_of=_task_of,
)
