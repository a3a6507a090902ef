"""SpreadSheetSwarm: a table with a row for each agent; each works on its own task and sees nothing of the others.

With ``tasks`` there is one for each agent, in listed order; with ``task`` it is the same for all. The table is done
``max_loops`` times, a later time without memory of an earlier one. A failed row has its error, and does not count in
``tasks_completed``; a whole table of failures ends the run. When each row was worked on is in the journal's attempts.
Calls: max_loops x the sum of the agents' own loops; a table's rows in flight together.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm
from orca_engine.swarm_type import SwarmType, every_agent, in_every_loop
from orca_engine.table import fill
from orca_protocol.errors import InvalidError
from orca_protocol.spec import SwarmSpec


async def spreadsheet(swarm: Swarm) -> Ended:
    """Fill the table."""
    return await fill(swarm, [(agent, None if swarm.spec.tasks is None else row) for row, agent in enumerate(swarm.agents)])


def _check(spec: SwarmSpec) -> None:
    if spec.tasks is not None and len(spec.tasks) != len(spec.agents):
        raise InvalidError(
            "tasks_mismatch", f"tasks: there are {len(spec.tasks)} for {len(spec.agents)} agents; each agent needs its own"
        )


def _task_of(spec: SwarmSpec, row: int) -> str:
    return spec.asked if spec.tasks is None else spec.tasks[row]


SPREADSHEET = SwarmType(run=spreadsheet, visits=every_agent(in_every_loop), tasks="own", task_of=_task_of, check=_check)
