"""SequentialWorkflow: the agents in listed order, each reading the task and everything said before it.

``max_loops`` passes over the list; a later pass reads the whole transcript. An agent that fails ends the run: the
finished part is kept and the status is ``error``, for what follows would build on a gap. One agent is legal.
Calls: max_loops x the sum of the agents' own loops, one after the other.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, ended
from orca_protocol.model import Failure


async def sequential(swarm: Swarm) -> Ended:
    """Run the swarm as a chain."""
    transcript = swarm.opening()
    for loop in swarm.loops:
        for step, agent in enumerate(swarm.agents):
            turn = await swarm.visit(agent, transcript, loop=loop, step=step)
            transcript = transcript.plus([turn])
            if isinstance(turn.outcome, Failure):
                return Ended(transcript, "error")
            if turn.text is None:
                return ended(transcript)
    return ended(transcript)
