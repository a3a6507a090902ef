"""Tables of independent work: each cell is an agent with a task, all cells side by side, none sees another.

The whole table is done ``max_loops`` times, one after the other; a later time knows nothing of an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orca_engine.machine import all_of
from orca_engine.swarm import Ended, Swarm, ended, is_over
from orca_protocol.spec import AgentSpec

#: an agent, and which of ``tasks`` it works on; None: the one task
Cell = tuple[AgentSpec, int | None]


async def fill(swarm: Swarm, cells: Sequence[Cell]) -> Ended:
    """Do the work of all ``cells``; the output stands in their order."""
    transcript = swarm.opening()
    tasks = swarm.spec.tasks or ()
    for loop in swarm.loops:
        turns = await all_of(
            swarm.visit(agent, swarm.opening(None if task is None else tasks[task]), loop=loop, step=0, place=place)
            for place, (agent, task) in enumerate(cells)
        )
        transcript = transcript.plus(turn.about(task) for turn, (_, task) in zip(turns, cells, strict=True))
        if is_over(transcript):
            break
    return replace(ended(transcript), completed=sum(turn.text is not None for turn in transcript.turns))
