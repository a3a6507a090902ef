"""MixtureOfAgents: workers in layers, and the last listed agent as aggregator.

The workers (all but the last) answer side by side: in the first layer on the task alone, in a later one on the task and the
answers of the layer before. After ``max_loops`` layers the aggregator reads every answer of every layer and has the last word.
A failed worker is left out; a layer of which nobody answers, or an aggregator that fails, ends the run as an error.
Calls: max_loops x the workers, and the aggregator's; a layer's workers in flight together.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, broken, is_over, last_word
from orca_engine.swarm_type import SwarmType, Visits
from orca_protocol.spec import SwarmSpec

_AGGREGATE = "Combine the answers above into one final answer to the task. Weigh them: some may be wrong."


def visits(spec: SwarmSpec) -> Visits:
    """Return one visit a layer for each worker, and the aggregator's."""
    return [*((agent, spec.max_loops) for agent in spec.agents[:-1]), *((agent, 1) for agent in spec.agents[-1:])]


async def mixture(swarm: Swarm) -> Ended:
    """Run the layers, then the aggregator."""
    *workers, aggregator = swarm.agents
    everything = layer = swarm.opening()
    for loop in swarm.loops:
        answers = await swarm.panel(workers, layer, loop=loop, step=0)
        layer = swarm.opening().plus(answers)
        everything = everything.plus(answers)
        if is_over(everything):
            return broken(everything)
    return await last_word(swarm, aggregator, everything, _AGGREGATE, loop=swarm.spec.max_loops, step=1)


MIXTURE = SwarmType(run=mixture, visits=visits, agents=(2, None))
