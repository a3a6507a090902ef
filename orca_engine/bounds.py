"""What a run can use at most, from the spec alone: the sum over all visits its type may make, prompts that agents write included.

Where a model decides what runs, it is the most of what it may decide. These are the ceilings that a statement signs and that
replay checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orca_engine.swarm_type import SwarmType
from orca_engine.swarms import SWARMS
from orca_protocol.spec import AgentSpec, SwarmSpec


@dataclass(frozen=True, slots=True)
class Bound:
    """Calls and generated tokens, at most; ``prompt_characters`` of all agents together."""

    calls: int
    output_tokens: int
    prompt_characters: int


def type_of(spec: SwarmSpec) -> SwarmType:
    """Return the row of the table that runs ``spec``."""
    return SWARMS[spec.canonical_type]


def settled(spec: SwarmSpec) -> SwarmSpec:
    """Return the spec that runs, as far as the spec alone decides that."""
    return type_of(spec).settle(spec)


def speakers(spec: SwarmSpec) -> Sequence[AgentSpec]:
    """Return the agents that a run may visit, without the lead."""
    return [agent for agent, times in type_of(spec).visits(spec) if times]


def runs_of(spec: SwarmSpec) -> Sequence[SwarmSpec]:
    """Return a spec for each run of the swarm: one, or one for each of its tasks."""
    if spec.tasks is None or type_of(spec).tasks == "own":
        return (spec,)
    return [spec.model_copy(update={"task": task, "tasks": None}) for task in spec.tasks]


def bound_of(spec: SwarmSpec) -> Bound:
    """Return what all runs of ``spec`` use at most."""
    spec = settled(spec)
    runs = runs_of(spec)
    one = _of_one_run(runs[0])
    return Bound(one.calls * len(runs), one.output_tokens * len(runs), one.prompt_characters)


def _of_one_run(spec: SwarmSpec) -> Bound:
    kind = type_of(spec)
    lead = kind.lead_of(spec)
    calls = tokens = characters = 0
    for agent, times in (*kind.visits(spec), *(() if lead is None else ((lead, kind.lead_visits(spec)),))):
        if times:
            asked = times * agent.max_loops + agent.auto_generate_prompt
            calls += asked
            tokens += asked * agent.max_tokens
            characters += len(agent.system_prompt or "") + len(spec.rules or "") + len(agent.role)
    onward = [_of_one_run(wider) for wider in kind.onward(spec)]
    return Bound(
        calls + max((one.calls for one in onward), default=0),
        tokens + max((one.output_tokens for one in onward), default=0),
        max(characters, *(one.prompt_characters for one in onward)) if onward else characters,
    )
