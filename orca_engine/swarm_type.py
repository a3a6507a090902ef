"""What the table says of a swarm type: how it runs, whom it visits at most how often, and which fields of the spec it uses.

Whom a type visits is a function of the spec alone, and from it follow the run's ceilings, which are signed, and the list of
agents that need a prompt. A field that a type does not use is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from orca_engine.machine import Program
from orca_engine.swarm import Ended, Onward, Swarm
from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, SwarmSpec

#: an agent, and at most how often a run visits it; a visit is one call for each of the agent's own loops
Visits = Iterable[tuple[AgentSpec, int]]

#: fields that only some types use, and that are refused for the others
SPECIAL_FIELDS = (
    "rearrange_flow",
    "lead",
    "voting",
    "speaker_selection",
    "synthesis",
    "plan_max",
    "allowed_models",
    "nodes",
    "edges",
)

DEFAULT_PLAN_MAX = 10


@dataclass(frozen=True, slots=True)
class LeadRole:
    """The agent beside the listed ones that decides or has the last word, as it is where the spec says nothing of it."""

    name: str
    prompt: str
    #: whose model, ``max_tokens`` and ``temperature`` it has; None: the spec must name the lead
    like: Literal["first", "last"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmType:
    """One row of the table."""

    run: Callable[[Swarm], Program[Ended | Onward]]
    visits: Callable[[SwarmSpec], Visits]
    #: listed agents, at least and at most
    agents: tuple[int, int | None] = (1, None)
    lead: LeadRole | None = None
    lead_visits: Callable[[SwarmSpec], int] = lambda spec: 0
    #: how often a person is asked at most
    inputs: Callable[[SwarmSpec], int] = lambda spec: 0
    #: which of ``SPECIAL_FIELDS`` it uses
    uses: frozenset[str] = frozenset()
    has_loops: bool = True
    #: whether ``tasks`` are one run each (``runs``), the type's own matter (``own``), or refused
    tasks: Literal["runs", "own", "refused"] = "runs"
    #: what the listed agent at a place works on, for whoever writes its prompt
    task_of: Callable[[SwarmSpec, int], str] = lambda spec, place: spec.asked
    #: raises InvalidError for what else cannot be run
    check: Callable[[SwarmSpec], None] = lambda spec: None
    #: what the spec alone decides before anything is asked
    settle: Callable[[SwarmSpec], SwarmSpec] = lambda spec: spec
    #: the widest specs that may run in its place when it has decided
    onward: Callable[[SwarmSpec], tuple[SwarmSpec, ...]] = lambda spec: ()

    def lead_of(self, spec: SwarmSpec) -> AgentSpec | None:
        """Return the agent that leads a run of ``spec``, if there is one."""
        role, given = self.lead, spec.lead
        if role is None:
            return None
        if given is not None:
            return AgentSpec(
                agent_name=given.agent_name or _distinct(role.name, spec),
                system_prompt=role.prompt if given.system_prompt is None else given.system_prompt,
                model_name=given.model_name,
                max_tokens=given.max_tokens,
                temperature=given.temperature,
            )
        if role.like is None or not spec.agents:
            raise InvalidError("lead_missing", f"lead: {spec.canonical_type} has no agent whose model could lead; name one in lead")
        model = spec.agents[0 if role.like == "first" else -1]
        return AgentSpec(
            agent_name=_distinct(role.name, spec),
            system_prompt=role.prompt,
            model_name=model.model_name,
            max_tokens=model.max_tokens,
            temperature=model.temperature,
        )


def every_agent(times: Callable[[SwarmSpec], int]) -> Callable[[SwarmSpec], Visits]:
    """Return the visits of a type that visits each listed agent the same number of times."""
    return lambda spec: [(agent, times(spec)) for agent in spec.agents]


def in_every_loop(spec: SwarmSpec) -> int:
    """Return one visit for each of the swarm's loops."""
    return spec.max_loops


def plan_max(spec: SwarmSpec) -> int:
    """Return the most agents or tasks that a model's plan may have."""
    return DEFAULT_PLAN_MAX if spec.plan_max is None else spec.plan_max


def _distinct(name: str, spec: SwarmSpec) -> str:
    """Return ``name``, or the first numbered form of it that no agent bears."""
    taken = {agent.agent_name for agent in spec.agents}
    number, tried = 1, name
    while tried in taken:
        number += 1
        tried = f"{name} {number}"
    return tried
