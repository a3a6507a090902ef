"""What a swarm type works with: the agents, the visits, and how a run ends.

``Swarm.visit`` lets one agent speak (``orca_engine.visit``). What failed is the agent's turn, and so is a stop (cancel, deadline,
budget), which also ends the run: types ask ``is_over`` after each step. With a budget, steps follow each other: what is done
side by side begins together, and each of it is one visit or one decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from orca_engine.forms import Form
from orca_engine.item import Item
from orca_engine.ledger import Allowance, Ledger
from orca_engine.machine import Call, Program, all_of, ask
from orca_engine.transcript import Said, Transcript, Turn
from orca_engine.visit import Speaker, Visit, calls_of
from orca_protocol.journal import Path, Stop
from orca_protocol.model import Failure, Image, Message
from orca_protocol.output import Note, VoteCount
from orca_protocol.spec import AgentSpec, SwarmSpec
from orca_protocol.world import Input, InputRequest

Status = Literal["success", "partial", "error"]

#: asks an agent one question that nobody else reads, at a step
Questions = Callable[[Sequence[Message], int], Program[Turn]]


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


#: without a ledger an allowance keeps nothing, so that one is enough for all
_UNBOUNDED = nullcontext(Allowance())


class Swarm:
    """One run's agents, ready to speak, or why they cannot."""

    def __init__(
        self,
        item: Item,
        lead: AgentSpec | None,
        speakers: Mapping[str, Speaker | Failure | Stop],
        loops_before: int,
        *,
        image: Image | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._item = item
        self._lead = lead
        self._speakers = speakers
        self._loops_before = loops_before
        self._images = None if image is None else (image,)
        self._ledger = ledger
        self._conversation = [turn.message() for turn in item.spec.messages or ()]
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
        """Return the transcript before anybody spoke, on the spec's task or another one. The image belongs to the task."""
        last = task or self.spec.task
        opening = [*self._conversation, *(() if last is None else told(last))]
        if self._images is not None and opening:  # a table has no one task to begin with
            asked = max(place for place, message in enumerate(opening) if message.role == "user")
            opening[asked] = opening[asked].model_copy(update={"images": self._images})
        return Transcript(tuple(opening))

    async def visit(
        self, agent: AgentSpec, transcript: Transcript, *, loop: int, step: int, place: int = 0, after: Sequence[Message] = ()
    ) -> Turn:
        """Let ``agent`` speak once, having read ``transcript`` and, for its eyes only, ``after``.

        ``place`` is its place within a parallel step.
        """
        speaker = self._speakers[agent.agent_name]
        if isinstance(speaker, Failure | Stop):
            return Turn(agent.agent_name, speaker)
        visit = Visit(self._item, speaker, self._path(loop, step, place), transcript, after)
        with self._allowing(visit) as allowance:
            return Turn(agent.agent_name, await visit.outcome(allowance))

    @contextmanager
    def asking(
        self,
        agent: AgentSpec,
        transcript: Transcript,
        question: Sequence[Message],
        form: Form,
        *,
        loop: int,
        place: int,
        step: int,
    ) -> Iterator[Questions]:
        """Ask ``agent`` for a decision: ``question``, and perhaps one more; a budget reserves for both at once."""
        speaker = self._speakers[agent.agent_name]
        if isinstance(speaker, Failure | Stop):
            yield lambda after, step: _silent(Turn(agent.agent_name, speaker))
            return

        def visit(after: Sequence[Message], step: int) -> Visit:
            return Visit(self._item, speaker, self._path(loop, step, place), transcript, after, form)

        with self._allowing(visit(question, step), visits=2) as allowance:

            async def ask_it(after: Sequence[Message], step: int) -> Turn:
                return Turn(agent.agent_name, await visit(after, step).outcome(allowance))

            yield ask_it

    def _path(self, loop: int, step: int, place: int) -> Path:
        return Path(self._loops_before + loop, step, place)

    def _allowing(self, visit: Visit, *, visits: int = 1) -> AbstractContextManager[Allowance]:
        if self._ledger is None:
            return _UNBOUNDED
        return self._ledger.allowing(visit.request(), visits * calls_of(visit.agent))

    async def consult(self, name: str, transcript: Transcript, *, loop: int, step: int, place: int = 0) -> Turn:
        """Ask a person, who reads ``transcript`` as an agent called ``name`` would, and speaks as it."""
        path = self._path(loop, step, place)
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


async def _silent(turn: Turn) -> Turn:
    return turn


def told(text: str) -> tuple[Message, ...]:
    """Return what one agent is told at one visit."""
    return (Message(role="user", content=text),)


def roster(agents: Iterable[AgentSpec]) -> str:
    """Return a line for each agent: its name, and its description if it has one."""
    return "\n".join(
        f"- {agent.agent_name}: {agent.description}" if agent.description else f"- {agent.agent_name}" for agent in agents
    )


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
