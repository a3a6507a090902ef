"""Agents that a type brings along itself: they have the model, ``max_tokens`` and ``temperature`` of the spec's lead."""

from __future__ import annotations

from collections.abc import Mapping

from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, SwarmSpec


def made_agents(spec: SwarmSpec, prompts: Mapping[str, str]) -> tuple[AgentSpec, ...]:
    """Return an agent for each name and prompt; none where there is no lead to take the model from."""
    lead = spec.lead
    if lead is None:
        return ()
    return tuple(
        AgentSpec(
            agent_name=name,
            system_prompt=prompt,
            model_name=lead.model_name,
            max_tokens=lead.max_tokens,
            temperature=lead.temperature,
        )
        for name, prompt in prompts.items()
    )


def refuse_their_names(spec: SwarmSpec, prompts: Mapping[str, str]) -> None:
    """Raise InvalidError where the lead bears the name of such an agent: names key the transcript."""
    if spec.lead is not None and spec.lead.agent_name in prompts:
        raise InvalidError(
            "name_taken",
            f"lead.agent_name: {spec.canonical_type} has an agent {spec.lead.agent_name} of its own; take another name",
        )
