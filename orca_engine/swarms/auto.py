"""auto: the type that fits the task.

The spec alone decides where it can: no agents are a task for AutoSwarmBuilder, a flow is AgentRearrange, one agent is
SequentialWorkflow. Else a selector, ``lead`` (without one: a separate agent with the first agent's model), chooses among the types
that need nothing the spec lacks. A choice that cannot be read twice, or a selector that fails, leaves SequentialWorkflow: the
selector's entry in the output has the error, and the run is partial at best. The type that ran is ``resolved_swarm_type``.
Calls: 2 for the selector, and the most that any of the types would make.
"""

from __future__ import annotations

from typing import Any

from orca_engine.decisions import TEXT, Decision, Unreadable, decide, members, quoted
from orca_engine.forms import object_of, one_of
from orca_engine.swarm import Ended, Onward, Swarm, ended, roster, was_stopped
from orca_engine.swarm_type import LeadRole, SwarmType
from orca_protocol.output import Note
from orca_protocol.spec import SwarmSpec

_ROLE = LeadRole("Selector", "You choose how a team of agents should work on a task.", "first")
#: what can be chosen, for two agents or more
CHOICES = {
    "SequentialWorkflow": "one after the other, each building on what was said before",
    "ConcurrentWorkflow": "all at once on the same task, independently",
    "MixtureOfAgents": "all but the last at once, then the last one combines their answers",
    "MajorityVoting": "all answer independently, and what most of them say counts",
    "GroupChat": "a discussion, each in turn reading and answering the others",
    "MultiAgentRouter": "only the one or the few whose speciality the task is",
    "HierarchicalSwarm": "a director takes the task apart and gives each agent its part",
}
_LED = ("MajorityVoting", "MultiAgentRouter", "HierarchicalSwarm")
_WITHOUT_LOOPS = ("MultiAgentRouter",)
_FALLBACK = "SequentialWorkflow"
_QUESTION = """Choose how these agents should work on the task:
{roster}
The ways are:
{choices}
Answer with one JSON object and nothing else, of this form:
{{"swarm_type": "the name of the way, exactly"}}"""


def settle(spec: SwarmSpec) -> SwarmSpec:
    """Return the spec of the type that ``spec`` alone decides on, or ``spec``."""
    if not spec.agents:
        return spec.model_copy(update={"swarm_type": "AutoSwarmBuilder"})
    if spec.rearrange_flow is not None:
        return spec.model_copy(update={"swarm_type": "AgentRearrange"})
    return spec.model_copy(update={"swarm_type": "SequentialWorkflow"}) if len(spec.agents) == 1 else spec


async def auto(swarm: Swarm) -> Ended | Onward:
    """Let the selector choose."""
    choices = [name for name in CHOICES if swarm.spec.max_loops == 1 or name not in _WITHOUT_LOOPS]
    lines = "\n".join(f"- {name}: {CHOICES[name]}" for name in choices)
    question = _QUESTION.format(roster=roster(swarm.agents), choices=lines)

    def read(document: Any) -> str:
        name = str(members(document, "answer", {"swarm_type": TEXT})["swarm_type"])
        if name not in choices:
            raise Unreadable(f"answer.swarm_type is {quoted(name)}; it must be one of {', '.join(choices)}.")
        return name

    chosen = await decide(swarm, swarm.lead, swarm.opening(), question, read, object_of(swarm_type=one_of(choices)), loop=0, step=0)
    if isinstance(chosen, Decision):
        return Onward(_as(swarm.spec, chosen.value))
    if was_stopped([chosen]):
        return ended(swarm.opening().plus([chosen]))
    note = Note(code="fallback", detail=f"the selector did not choose; {_FALLBACK} ran instead")
    return Onward(_as(swarm.spec, _FALLBACK), (chosen,), (note,))


def _onward(spec: SwarmSpec) -> tuple[SwarmSpec, ...]:
    return tuple(_as(spec, name) for name in CHOICES if spec.max_loops == 1 or name not in _WITHOUT_LOOPS)


def _as(spec: SwarmSpec, name: str) -> SwarmSpec:
    return spec.model_copy(update={"swarm_type": name, "lead": spec.lead if name in _LED else None})


AUTO = SwarmType(
    run=auto,
    visits=lambda spec: (),
    lead=_ROLE,
    lead_visits=lambda spec: 2,
    uses=frozenset({"lead"}),
    tasks="refused",
    settle=settle,
    onward=_onward,
)
