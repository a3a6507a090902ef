"""The transcript of a run, and how an agent sees it.

An agent's messages are: its system message, the task, then the transcript as chat turns: its own earlier answers as
``assistant``, everybody else's as ``user`` with the prefix ``Name: ``. No clock, and a stable prefix: the same inputs
give the same bytes, so that providers can cache prompts and peers can compare digests. A failed turn is in the record
but is never shown to an agent. Transcripts are immutable; parallel agents all see the one they started from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orca_protocol.journal import Stop
from orca_protocol.model import Answer, Failure, Message
from orca_protocol.spec import AgentSpec

#: stands after an agent's own words where nobody else spoke: chat models answer a user turn, and many know no two
#: assistant turns in a row
GO_ON = "Go on with the task, building on what has been said so far."
_GO_ON = Message(role="user", content=GO_ON)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one agent contributed at one visit."""

    name: str
    #: (loop, step) of the visit; turns of one parallel step share it
    step: tuple[int, int]
    outcome: Answer | Failure | Stop

    @property
    def text(self) -> str | None:
        """The answer's text, or None if there is no answer."""
        return self.outcome.content if isinstance(self.outcome, Answer) else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The task and the turns so far, in declared order."""

    task: str
    turns: tuple[Turn, ...] = ()

    def plus(self, turns: Iterable[Turn]) -> Transcript:
        """Return the transcript with ``turns`` appended."""
        return Transcript(self.task, (*self.turns, *turns))

    @property
    def last_step(self) -> tuple[Turn, ...]:
        """The turns of the last step: one, or all of a parallel step."""
        return tuple(turn for turn in self.turns if turn.step == self.turns[-1].step) if self.turns else ()


def messages_for(agent_name: str, system: str | None, transcript: Transcript, own: Iterable[str] = ()) -> tuple[Message, ...]:
    """Return the messages of one call; ``own`` are the agent's answers within the present visit."""
    messages = [Message(role="system", content=system)] if system else []
    messages.append(Message(role="user", content=transcript.task))
    said = [_shown(turn, agent_name) for turn in transcript.turns if turn.text is not None]
    said.extend(Message(role="assistant", content=text) for text in own)
    for message in said:
        if message.role == messages[-1].role == "assistant":
            messages.append(_GO_ON)
        messages.append(message)
    if messages[-1].role == "assistant":
        messages.append(_GO_ON)
    return tuple(messages)


def system_message(agent: AgentSpec, prompt: str | None, rules: str | None) -> str | None:
    """Return the agent's system message: its prompt, its role unless that is the default one, the swarm's rules."""
    role = f"Your role: {agent.role}" if agent.role != AgentSpec.model_fields["role"].default else None
    parts = [part for part in (prompt, role, rules) if part]
    return "\n\n".join(parts) or None


def _shown(turn: Turn, reader: str) -> Message:
    text = turn.text or ""
    if turn.name == reader:
        return Message(role="assistant", content=text)
    return Message(role="user", content=f"{turn.name}: {text}")
