"""RoundRobin: the agents in turn, in listed order, for ``max_loops`` rounds; each knows who speaks before and after it.

Everybody reads all that was said. An agent that fails misses its turn; a round in which nobody answers ends the run.
Calls: max_loops x the sum of the agents' own loops, one after the other.
"""

from __future__ import annotations

from orca_engine.discussion import Discussion, discuss
from orca_engine.swarm import Ended, Swarm
from orca_engine.swarm_type import SwarmType, every_agent, in_every_loop


async def round_robin(swarm: Swarm) -> Ended:
    """Let the agents speak in turn."""
    names = [agent.agent_name for agent in swarm.agents]

    def invitation(place: int) -> str:
        around = f" Before you speaks {names[place - 1]}, after you {names[(place + 1) % len(names)]}." if len(names) > 1 else ""
        return f"You are agent {place + 1} of {len(names)}, {names[place]}.{around} It is your turn: build on what was said."

    return await discuss(swarm, Discussion(invitation))


ROUND_ROBIN = SwarmType(run=round_robin, visits=every_agent(in_every_loop))
