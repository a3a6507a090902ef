"""What a swarm type works with: the agents, the visits, and how a run ends.

``Swarm.visit`` lets one agent speak: one call for each of the agent's own loops, of which only the last answer counts.
A call that failed ends the visit; its failure is the turn. A stop (cancel, deadline, budget) does the same and also
ends the run: types ask ``is_over`` after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orca_engine.item import Item
from orca_engine.machine import Call, all_of, ask, ask_model
from orca_engine.transcript import Said, Transcript, Turn, messages_for, system_message
from orca_protocol.journal import Path, Stop
from orca_protocol.model import Answer, Failure, Message, ModelRequest
from orca_protocol.output import Note, VoteCount
from orca_protocol.spec import AgentSpec, SwarmSpec
from orca_protocol.world import Input, InputRequest

Status = Literal["success", "partial", "error"]

#: an agent's system prompt, or what became of the attempt to have it written
Prompt = Answer | Failure | Stop | str | None

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
    notes: tuple[Note, ...] = ()
    votes: tuple[VoteCount, ...] | None = None
    #: rows or tasks that were answered, where the type has such
    completed: int | None = None
    #: what ran in place of the item's own spec, where something decided that
    ran: SwarmSpec | None = None


@dataclass(frozen=True, slots=True)
class Onward:
    """A type's decision that ``spec`` is to run in its place; what was said on the way there stands before that run's turns."""

    spec: SwarmSpec
    turns: tuple[Turn, ...] = ()
    notes: tuple[Note, ...] = ()


class Swarm:
    """One run's agents and their prompts."""

    def __init__(self, item: Item, lead: AgentSpec | None, prompts: Mapping[str, Prompt], loops_before: int) -> None:
        self._item = item
        self._lead = lead
        self._prompts = prompts
        self._loops_before = loops_before
        self._conversation = [Message(role=turn.role, content=turn.content) for turn in item.spec.messages or ()]
        self.spec = item.spec
        self.agents = item.spec.agents
        self.loops = range(1, item.spec.max_loops + 1)

    @property
    def lead(self) -> AgentSpec:
        """Who decides, or has the last word; RuntimeError in a type that has no such agent."""
        if self._lead is None:
            raise RuntimeError("this swarm type has no lead")
        return self._lead

    def opening(self, task: str | None = None) -> Transcript:
        """Return the transcript before anybody spoke, on the spec's task or another one."""
        last = task or self.spec.task
        return Transcript((*self._conversation, *(() if last is None else told(last))))

    async def visit(
        self, agent: AgentSpec, transcript: Transcript, *, loop: int, step: int, place: int = 0, after: Sequence[Message] = ()
    ) -> Turn:
        """Let ``agent`` speak once, having read ``transcript`` and, for its eyes only, ``after``.

        ``place`` is its place within a parallel step.
        """
        prompt = self._prompts[agent.agent_name]
        if isinstance(prompt, Failure | Stop):
            return Turn(agent.agent_name, prompt)
        system = system_message(agent, prompt if isinstance(prompt, str | None) else prompt.content, self.spec.rules)
        own: list[str] = []
        while True:
            path = Path(self._loops_before + loop, step, place, len(own))
            messages = messages_for(agent.agent_name, system, transcript, after, own)
            outcome = await ask_model(Call(path, agent.agent_name, request_for(self._item, agent, path, messages)))
            if not isinstance(outcome, Answer) or len(own) + 1 == agent.max_loops:
                return Turn(agent.agent_name, outcome)
            own.append(outcome.content)

    async def consult(self, name: str, transcript: Transcript, *, loop: int, step: int, place: int = 0) -> Turn:
        """Ask a person, who reads ``transcript`` as an agent called ``name`` would, and speaks as it."""
        path = Path(self._loops_before + loop, step, place)
        messages = (*transcript.opening, *transcript.seen_by(name))
        outcome = await ask(Call(path, name, InputRequest(messages=messages)))
        if isinstance(outcome, Input):
            return Turn(name, Said(outcome.content))
        if not isinstance(outcome, Failure | Stop):
            raise RuntimeError(f"path {path}: a person was answered by {type(outcome).__name__}")
        return Turn(name, outcome)

    async def panel(
        self, agents: Iterable[AgentSpec], transcript: Transcript, *, loop: int, step: int, after: Sequence[Message] = ()
    ) -> list[Turn]:
        """Let ``agents`` speak side by side: each has read ``transcript``, none what another says now."""
        places = enumerate(agents)
        return await all_of(
            self.visit(agent, transcript, loop=loop, step=step, place=place, after=after) for place, agent in places
        )


def told(text: str) -> tuple[Message, ...]:
    """Return what one agent is told at one visit."""
    return (Message(role="user", content=text),)


def roster(agents: Iterable[AgentSpec]) -> str:
    """Return a line for each agent: its name, and its description if it has one."""
    return "\n".join(
        f"- {agent.agent_name}: {agent.description}" if agent.description else f"- {agent.agent_name}" for agent in agents
    )


def request_for(item: Item, agent: AgentSpec, path: Path, messages: tuple[Message, ...]) -> ModelRequest:
    """Return the provider-neutral request of one call."""
    return ModelRequest(
        model=agent.model_name,
        messages=messages,
        max_tokens=agent.max_tokens,
        temperature=agent.temperature,
        seed=item.seed(path),
    )


async def prepare(
    item: Item,
    speakers: Sequence[AgentSpec],
    lead: AgentSpec | None,
    task_of: Callable[[int], str],
    *,
    loops_before: int = 0,
    step: int = 0,
) -> Swarm:
    """Return the swarm of ``speakers``, its prompts written: agents with ``auto_generate_prompt`` get theirs from their own model.

    ``task_of`` says what the listed agent at a place works on; ``loops_before`` are the loops that earlier runs of the same item
    have taken, ``step`` what its preparation has taken.
    """
    everybody = (*speakers, *(() if lead is None else (lead,)))
    prompts: dict[str, Prompt] = {agent.agent_name: agent.system_prompt for agent in everybody}
    writers = [
        (place, agent) for place, agent in enumerate(item.spec.agents) if agent.auto_generate_prompt and agent.agent_name in prompts
    ]
    before = loops_before + PREPARATION
    written = await all_of(_write_prompt(item, agent, task_of(place), Path(before, step, place)) for place, agent in writers)
    prompts.update((agent.agent_name, outcome) for (_, agent), outcome in zip(writers, written, strict=True))
    return Swarm(item, lead, prompts, loops_before)


async def _write_prompt(item: Item, agent: AgentSpec, task: str, path: Path) -> Answer | Failure | Stop:
    facts = [
        f"Agent: {agent.agent_name}",
        f"Role: {agent.role}",
        f"Description: {agent.description}" if agent.description else None,
        f"Prompt so far: {agent.system_prompt}" if agent.system_prompt else None,
        f"Task of the swarm: {task}",
    ]
    messages = (
        Message(role="system", content=_PROMPT_WRITER),
        Message(role="user", content="\n".join(fact for fact in facts if fact)),
    )
    return await ask_model(Call(path, agent.agent_name, request_for(item, agent, path, messages)))


def was_stopped(turns: Iterable[Turn]) -> bool:
    """Whether one of ``turns`` was ended from outside, and with it the run."""
    return any(isinstance(turn.outcome, Stop) for turn in turns)


def is_over(transcript: Transcript) -> bool:
    """Whether the run was stopped, or nobody of the last step answered, so that going on is pointless."""
    last = transcript.last_step
    return was_stopped(last) or not any(turn.text is not None for turn in last)


def ended(transcript: Transcript, *notes: Note) -> Ended:
    """End with the status that the turns themselves give: all answered, some, or none."""
    answered = [turn.text is not None for turn in transcript.turns]
    status: Status = "success" if all(answered) else "partial" if any(answered) else "error"
    return Ended(transcript, status if answered else "error", notes)


def broken(transcript: Transcript, *notes: Note) -> Ended:
    """End a run whose next step would build on a gap: an error that keeps the finished part, unless it was stopped from outside."""
    as_it_stands = ended(transcript, *notes)
    return as_it_stands if was_stopped(transcript.last_step) else replace(as_it_stands, status="error")


async def last_word(
    swarm: Swarm, agent: AgentSpec, transcript: Transcript, told_to: str, *, loop: int, step: int, notes: Iterable[Note] = ()
) -> Ended:
    """Let ``agent`` end the run: without its answer there is no result, and the run is an error."""
    transcript = transcript.plus([await swarm.visit(agent, transcript, loop=loop, step=step, after=told(told_to))])
    return broken(transcript, *notes) if is_over(transcript) else ended(transcript, *notes)


def at_best_partial(end: Ended) -> Ended:
    """Return ``end``, but not as a success: something that was asked for was not done."""
    return replace(end, status="partial") if end.status == "success" else end
