"""DebateWithJudge: three agents in listed order: one argues for, one against, the third judges.

In each of ``max_loops`` loops the first argues, the second answers having read that, and the judge weighs both; everybody reads
everything said before. An agent that fails ends the run as an error that keeps the finished part.
Calls: max_loops x the sum of the agents' own loops, one after the other.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, broken, ended, is_over, told
from orca_engine.swarm_type import SwarmType, every_agent, in_every_loop

_PARTS = (
    "You argue for the proposition in the task. Make the strongest case, and answer what was said against it.",
    "You argue against the proposition in the task. Make the strongest case, and answer what was said for it.",
    "You judge this debate. Weigh both sides' arguments, say which are stronger and why, and give your verdict on the task.",
)


async def debate(swarm: Swarm) -> Ended:
    """Hold the debate."""
    transcript = swarm.opening()
    for loop in swarm.loops:
        for step, (agent, part) in enumerate(zip(swarm.agents, _PARTS, strict=True)):
            transcript = transcript.plus([await swarm.visit(agent, transcript, loop=loop, step=step, after=told(part))])
            if is_over(transcript):
                return broken(transcript)
    return ended(transcript)


DEBATE = SwarmType(run=debate, visits=every_agent(in_every_loop), agents=(3, 3))
