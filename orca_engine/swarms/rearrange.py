"""AgentRearrange: the agents as ``rearrange_flow`` orders them: ``A -> B, C -> A``.

A step reads the task and everything said before it; agents of one step do not see each other. ``max_loops`` passes over the
flow, the transcript is kept. Agents may appear more than once, or not at all. A step of which nobody answers ends the run as
an error that keeps the finished part; one of which some answer goes on with them. At ``H``, unless an agent has that name, a
person is asked, who has read what the agents of that step read. Calls: max_loops x the visits in the flow, people not counted;
a step's agents in flight together.
"""

from __future__ import annotations

from collections import Counter

from orca_engine.flow import HUMAN, Steps, parse_flow
from orca_engine.machine import all_of
from orca_engine.swarm import Ended, Swarm, broken, ended, is_over
from orca_engine.swarm_type import SwarmType, Visits
from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, SwarmSpec


def steps_of(spec: SwarmSpec) -> Steps:
    """Return the speakers of each step. Raises InvalidError ``flow_missing`` or as ``parse_flow`` does."""
    if spec.rearrange_flow is None:
        raise InvalidError("flow_missing", "rearrange_flow: AgentRearrange needs a flow such as 'A -> B, C'")
    return parse_flow(spec.rearrange_flow, {agent.agent_name: agent for agent in spec.agents})


def visits(spec: SwarmSpec) -> Visits:
    """Return how often the flow visits each agent."""
    named = Counter(speaker.agent_name for step in steps_of(spec) for speaker in step if isinstance(speaker, AgentSpec))
    return [(agent, spec.max_loops * named[agent.agent_name]) for agent in spec.agents]


def inputs(spec: SwarmSpec) -> int:
    """Return how often the flow asks a person."""
    return spec.max_loops * sum(not isinstance(speaker, AgentSpec) for step in steps_of(spec) for speaker in step)


async def rearrange(swarm: Swarm) -> Ended:
    """Run the swarm along its flow."""
    transcript = swarm.opening()
    steps = steps_of(swarm.spec)
    for loop in swarm.loops:
        for step, speakers in enumerate(steps):
            turns = await all_of(
                swarm.visit(speaker, transcript, loop=loop, step=step, place=place)
                if isinstance(speaker, AgentSpec)
                else swarm.consult(HUMAN, transcript, loop=loop, step=step, place=place)
                for place, speaker in enumerate(speakers)
            )
            transcript = transcript.plus(turns)
            if is_over(transcript):
                return broken(transcript)
    return ended(transcript)


REARRANGE = SwarmType(run=rearrange, visits=visits, inputs=inputs, uses=frozenset({"rearrange_flow"}))
