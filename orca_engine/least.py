"""The least that a run's first call is reckoned at, as far as the spec alone tells: what a budget must have room for.

Whoever speaks first has read its system message, the conversation and the task; whoever has its prompt written first, the task.
What a type asks beyond that is its own, so that the first call may be reckoned at more, and never at less.
"""

from __future__ import annotations

from collections.abc import Iterable

from orca_engine.ledger import Amounts, Ledger
from orca_engine.transcript import Transcript, messages_for, system_message
from orca_protocol.budget import Ceilings
from orca_protocol.model import Image, Message, ModelRequest
from orca_protocol.spec import AgentSpec, SwarmSpec

#: what stands for an image whose bytes are not known yet
_IMAGE = Image(media_type="image/png", digest="0" * 64)


def least_of(spec: SwarmSpec, agents: Iterable[AgentSpec], ceilings: Ceilings) -> Amounts | None:
    """Return the least of each that the first call of one of ``agents`` is reckoned at; None where there is nobody."""
    ledger = Ledger(ceilings)
    reckoned = [ledger.worst(_first(spec, agent)) for agent in agents]
    if not reckoned:
        return None
    least = reckoned[0]
    for amounts in reckoned[1:]:
        least = least.at_most(amounts)
    return least


def _first(spec: SwarmSpec, agent: AgentSpec) -> ModelRequest:
    opening = _opening(spec)
    asked = max(place for place, message in enumerate(opening) if message.role == "user")
    if agent.auto_generate_prompt:
        return _request(agent, (Message(role="user", content=opening[asked].content),))
    if spec.img is not None:
        opening[asked] = opening[asked].model_copy(update={"images": (_IMAGE,)})
    system = system_message(agent, agent.system_prompt, spec.rules)
    functions = tuple(tool.function for tool in agent.tools_list_dictionary or ())
    told = {"tools": functions or None, "response_schema": agent.response_schema}
    return _request(agent, messages_for(agent.agent_name, system, Transcript(tuple(opening)))).model_copy(update=told)


def _opening(spec: SwarmSpec) -> list[Message]:
    """Return the conversation and the task; of several tasks the shortest."""
    before = [turn.message() for turn in spec.messages or ()]
    task = min(spec.tasks, key=lambda each: len(each.encode(errors="surrogatepass"))) if spec.tasks else spec.task
    return before if task is None else [*before, Message(role="user", content=task)]


def _request(agent: AgentSpec, messages: tuple[Message, ...]) -> ModelRequest:
    return ModelRequest(
        model=agent.model_name, messages=messages, max_tokens=agent.max_tokens, temperature=agent.temperature, seed=0
    )
