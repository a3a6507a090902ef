"""ConcurrentWorkflow: all agents at once on the task; none sees another of the same round.

``max_loops`` rounds with a barrier between them: a later round reads every answer of the rounds before. A failed agent
does not hold up the others and is asked again in the next round; its failure is never shown to anyone. The run ends
early when a whole round failed. Output stands in listed order, round by round.
Calls: max_loops x the sum of the agents' own loops; all agents of a round in flight together.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, ended, is_over
from orca_engine.swarm_type import SwarmType, every_agent, in_every_loop


async def concurrent(swarm: Swarm) -> Ended:
    """Run the swarm in rounds."""
    transcript = swarm.opening()
    for loop in swarm.loops:
        transcript = transcript.plus(await swarm.panel(swarm.agents, transcript, loop=loop, step=0))
        if is_over(transcript):
            break
    return ended(transcript)


CONCURRENT = SwarmType(run=concurrent, visits=every_agent(in_every_loop))
