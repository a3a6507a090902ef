"""SequentialWorkflow: the agents in listed order, each reading the task and everything said before it.

``max_loops`` passes over the list; a later pass reads the whole transcript. An agent that fails ends the run: the
finished part is kept and the status is ``error``, for what follows would build on a gap. One agent is legal.
Calls: max_loops x the sum of the agents' own loops, one after the other.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, broken, ended, is_over
from orca_engine.swarm_type import SwarmType, every_agent, in_every_loop


async def sequential(swarm: Swarm) -> Ended:
    """Run the swarm as a chain."""
    transcript = swarm.opening()
    for loop in swarm.loops:
        for step, agent in enumerate(swarm.agents):
            transcript = transcript.plus([await swarm.visit(agent, transcript, loop=loop, step=step)])
            if is_over(transcript):
                return broken(transcript)
    return ended(transcript)


SEQUENTIAL = SwarmType(run=sequential, visits=every_agent(in_every_loop))
