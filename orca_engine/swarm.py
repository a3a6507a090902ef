"""What a swarm type works with: the agents, the visits, and how a run ends.

``Swarm.visit`` lets one agent speak: one call for each of the agent's own loops, of which only the last answer counts.
A call that failed ends the visit; its failure is the turn. A stop (cancel, deadline, budget) does the same and also
ends the run: types ask ``is_over`` after each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orca_engine.item import Item
from orca_engine.machine import Call, all_of, ask
from orca_engine.transcript import Transcript, Turn, messages_for, system_message
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure, Message, ModelRequest
from orca_protocol.spec import AgentSpec

Status = Literal["success", "partial", "error"]

#: loop 0 holds what happens before the first pass
PREPARATION = 0

_PROMPT_WRITER = (
    "You write system prompts for AI agents. Answer with the prompt alone: no title, no quotes, no comment. "
    "Say who the agent is, what it must do, how it works and what its answer must look like."
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a swarm ended: everything that was said, and whether that is what was asked for."""

    transcript: Transcript
    status: Status


class Swarm:
    """One run's agents and their prompts."""

    def __init__(self, item: Item, prompts: Mapping[str, Outcome | str | None]) -> None:
        self._item = item
        self._prompts = prompts
        self.agents = item.spec.agents
        self.loops = range(1, item.spec.max_loops + 1)

    def opening(self) -> Transcript:
        """Return the transcript before anybody spoke."""
        return Transcript.of(self._item.spec.task)

    async def visit(self, agent: AgentSpec, transcript: Transcript, *, loop: int, step: int, place: int = 0) -> Turn:
        """Let ``agent`` speak once, having read ``transcript``; ``place`` is its place within a parallel step."""
        prompt = self._prompts[agent.agent_name]
        if isinstance(prompt, Failure | Stop):
            return Turn(agent.agent_name, prompt)
        system = system_message(agent, prompt if isinstance(prompt, str | None) else prompt.content, self._item.spec.rules)
        own: list[str] = []
        while True:
            path = Path(loop, step, place, len(own))
            messages = messages_for(agent.agent_name, system, transcript, own)
            outcome = await ask(Call(path, agent.agent_name, request_for(self._item, agent, path, messages)))
            if not isinstance(outcome, Answer) or len(own) + 1 == agent.max_loops:
                return Turn(agent.agent_name, outcome)
            own.append(outcome.content)


def request_for(item: Item, agent: AgentSpec, path: Path, messages: tuple[Message, ...]) -> ModelRequest:
    """Return the provider-neutral request of one call."""
    return ModelRequest(
        model=agent.model_name,
        messages=messages,
        max_tokens=agent.max_tokens,
        temperature=agent.temperature,
        seed=item.seed(path),
    )


async def prepare(item: Item) -> Swarm:
    """Return the swarm, its prompts written: agents with ``auto_generate_prompt`` get theirs from their own model."""
    prompts: dict[str, Outcome | str | None] = {agent.agent_name: agent.system_prompt for agent in item.spec.agents}
    writers = [(place, agent) for place, agent in enumerate(item.spec.agents) if agent.auto_generate_prompt]
    written = await all_of(_write_prompt(item, agent, place) for place, agent in writers)
    prompts.update((agent.agent_name, outcome) for (_, agent), outcome in zip(writers, written, strict=True))
    return Swarm(item, prompts)


async def _write_prompt(item: Item, agent: AgentSpec, place: int) -> Outcome:
    path = Path(PREPARATION, 0, place)
    facts = [
        f"Agent: {agent.agent_name}",
        f"Role: {agent.role}",
        f"Description: {agent.description}" if agent.description else None,
        f"Prompt so far: {agent.system_prompt}" if agent.system_prompt else None,
        f"Task of the swarm: {item.spec.task}",
    ]
    messages = (
        Message(role="system", content=_PROMPT_WRITER),
        Message(role="user", content="\n".join(fact for fact in facts if fact)),
    )
    return await ask(Call(path, agent.agent_name, request_for(item, agent, path, messages)))


def is_over(transcript: Transcript) -> bool:
    """Whether the run was stopped, or nobody of the last step answered, so that going on is pointless."""
    last = transcript.last_step
    return any(isinstance(turn.outcome, Stop) for turn in last) or not any(turn.text is not None for turn in last)


def ended(transcript: Transcript) -> Ended:
    """End with the status that the turns themselves give: all answered, some, or none."""
    answered = [turn.text is not None for turn in transcript.turns]
    status: Status = "success" if all(answered) else "partial" if any(answered) else "error"
    return Ended(transcript, status if answered else "error")
