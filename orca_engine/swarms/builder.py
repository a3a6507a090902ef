"""AutoSwarmBuilder: from a task alone. A builder designs the team, and the team runs.

The builder is ``lead``, which the spec must name. It answers with a type, agents and their prompts, and a flow where the type
is AgentRearrange (each agent once). The agents have ``lead``'s ``max_tokens`` and ``temperature``; a model that is not in
``allowed_models`` is replaced by the first one there, and a note says so. More than ``plan_max`` (10) agents, two of one name,
or a type that cannot be built get one repair question; then the run is an error and no agent was asked. The team's spec is in
the output.
Calls: 2 for the builder, and the most that ``plan_max`` agents would make in any of the types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orca_engine.decisions import LIST, TEXT, WORDS, Decision, Unreadable, decide, members, quoted
from orca_engine.flow import HUMAN, parse_flow
from orca_engine.forms import Form, object_of, one_of, phrase, several
from orca_engine.swarm import Ended, Onward, Swarm, broken
from orca_engine.swarm_type import LeadRole, SwarmType, plan_max
from orca_protocol.errors import InvalidError
from orca_protocol.output import Note
from orca_protocol.spec import AgentSpec, SwarmSpec

_ROLE = LeadRole("Builder", "You design teams of AI agents: few agents, each with one clear job and a precise prompt.")
#: the types that can be built, and how many agents each needs
BUILT = {
    "SequentialWorkflow": 1,
    "ConcurrentWorkflow": 1,
    "AgentRearrange": 1,
    "MixtureOfAgents": 2,
    "MajorityVoting": 1,
    "GroupChat": 2,
    "HierarchicalSwarm": 1,
    "RoundRobin": 1,
}
_NAME_MAX = 100
_QUESTION = """Design a team of at most {most} agents for the task. Its swarm_type is one of {types}.
Models are: {models}. Answer with one JSON object and nothing else, of this form:
{{"swarm_type": "…", "agents": [{{"agent_name": "…", "description": "what it does", "system_prompt": "…", "model_name": "…"}}],
"rearrange_flow": "for AgentRearrange only, with each agent once, such as A -> B, C"}}"""


async def builder(swarm: Swarm) -> Ended | Onward:
    """Let the builder design the team."""
    spec = swarm.spec
    question = _QUESTION.format(most=plan_max(spec), types=", ".join(BUILT), models=", ".join(_models(spec)))

    def read(document: Any) -> Onward:
        return _team(document, spec)

    team = await decide(swarm, swarm.lead, swarm.opening(), question, read, _form(spec), loop=0, step=0)
    return team.value if isinstance(team, Decision) else broken(swarm.opening().plus([team]))


def _form(spec: SwarmSpec) -> Form:
    """A team without a flow, large enough for any type: what a grammar can say of it."""
    least = min(max(BUILT.values()), plan_max(spec))
    names = one_of(name for name, needed in BUILT.items() if name != "AgentRearrange" and needed <= least)
    agent = object_of(agent_name=phrase(30), description=phrase(), system_prompt=phrase(), model_name=one_of(_models(spec)))
    return object_of(swarm_type=names, agents=several(agent, plan_max(spec), least))


def _team(document: Any, spec: SwarmSpec) -> Onward:
    team = members(document, "answer", {"swarm_type": TEXT, "agents": LIST}, {"rearrange_flow": TEXT})
    name, flow = team["swarm_type"], team["rearrange_flow"]
    if name not in BUILT:
        raise Unreadable(f"answer.swarm_type is {quoted(name)}; it must be one of {', '.join(BUILT)}.")
    if not BUILT[name] <= len(team["agents"]) <= plan_max(spec):
        raise Unreadable(
            f"answer.agents has {len(team['agents'])} agents; for {name} it must have {BUILT[name]} to {plan_max(spec)}."
        )
    notes: list[Note] = []
    agents = tuple(_agent(part, f"answer.agents[{index}]", spec, notes) for index, part in enumerate(team["agents"]))
    names = {agent.agent_name: agent for agent in agents}
    if len(names) < len(agents):
        raise Unreadable("answer.agents has two agents of one name.")
    if (flow is not None) != (name == "AgentRearrange"):
        raise Unreadable("answer.rearrange_flow is for AgentRearrange, which needs it.")
    if flow is not None:
        _refuse_flow(flow, names)
    return Onward(_designed(spec, name, agents, flow), notes=tuple(notes))


def _agent(part: Any, where: str, spec: SwarmSpec, notes: list[Note]) -> AgentSpec:
    agent = members(part, where, {"agent_name": TEXT, "system_prompt": WORDS}, dict.fromkeys(("description", "model_name"), TEXT))
    if not agent["agent_name"].strip() or len(agent["agent_name"]) > _NAME_MAX:
        raise Unreadable(f"{where}.agent_name must have 1 to {_NAME_MAX} characters, and not be blank.")
    wanted, models = agent["model_name"], _models(spec)
    if wanted is not None and wanted not in models:
        detail = f"{quoted(agent['agent_name'])} was to have {quoted(wanted)}, which is not allowed; it has {models[0]}"
        notes.append(Note(code="model_replaced", detail=detail))
    model = wanted if wanted in models else models[0]
    return _made(spec, agent["agent_name"], model, agent["system_prompt"], agent["description"])


def _made(spec: SwarmSpec, name: str, model: str, prompt: str | None = None, description: str | None = None) -> AgentSpec:
    lead = spec.lead
    if lead is None:
        raise RuntimeError("a spec without lead is not admitted")
    return AgentSpec(
        agent_name=name,
        description=description,
        system_prompt=prompt,
        model_name=model,
        max_tokens=lead.max_tokens,
        temperature=lead.temperature,
    )


def _refuse_flow(flow: str, agents: dict[str, AgentSpec]) -> None:
    try:
        steps = parse_flow(flow, agents)
    except InvalidError as error:
        raise Unreadable(f"answer.{error.detail}.") from error
    named = [speaker.agent_name if isinstance(speaker, AgentSpec) else HUMAN for step in steps for speaker in step]
    if sorted(named) != sorted(agents):
        raise Unreadable("answer.rearrange_flow must name each agent once.")


def _models(spec: SwarmSpec) -> Sequence[str]:
    return spec.allowed_models or (() if spec.lead is None else (spec.lead.model_name,))


def _designed(spec: SwarmSpec, name: str, agents: Sequence[AgentSpec], flow: str | None) -> SwarmSpec:
    given = {"swarm_type": name, "agents": tuple(agents), "rearrange_flow": flow}
    return spec.model_copy(update={**given, "lead": None, "plan_max": None, "allowed_models": None})


def _onward(spec: SwarmSpec) -> tuple[SwarmSpec, ...]:
    names = [f"{number}" for number in range(plan_max(spec))]
    agents = [_made(spec, name, _models(spec)[0]) for name in names]
    return tuple(_designed(spec, name, agents, " -> ".join(names) if name == "AgentRearrange" else None) for name in BUILT)


BUILDER = SwarmType(
    run=builder,
    visits=lambda spec: (),
    agents=(0, 0),
    lead=_ROLE,
    lead_visits=lambda spec: 2,
    uses=frozenset({"lead", "plan_max", "allowed_models"}),
    tasks="refused",
    onward=_onward,
)
