"""The transcript of a run, and how an agent sees it.

An agent's messages are: its system message, the task, then the transcript as chat turns: its own earlier answers as
``assistant``, everybody else's as ``user`` with the prefix ``Name: ``. No clock, and a stable prefix: the same inputs
give the same bytes, so that providers can cache prompts and peers can compare digests. A failed turn is in the record
but is never shown to an agent. Transcripts are immutable; parallel agents all see the one they started from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from orca_protocol.canonical import canonical
from orca_protocol.journal import Stop
from orca_protocol.model import Answer, Failure, Message
from orca_protocol.spec import AgentSpec

#: stands after an agent's own words where nobody else spoke: chat models answer a user turn, and many know no two
#: assistant turns in a row
GO_ON = "Go on with the task, building on what has been said so far."
_GO_ON = Message(role="user", content=GO_ON)
_USUAL_ROLE = AgentSpec.model_fields["role"].default


@dataclass(frozen=True, slots=True)
class Said:
    """Text that no model wrote as it stands: what the engine read out of a decision, or counted, or what a person said."""

    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one agent contributed at one visit."""

    name: str
    outcome: Answer | Said | Failure | Stop
    #: which of the spec's ``tasks`` it is about, where there are any
    task: int | None = None

    @property
    def text(self) -> str | None:
        """The answer's text, or None if there is no answer. Functions to be called are told where a model said nothing else."""
        match self.outcome:
            case Answer(content=content, tool_calls=calls) if calls and not content.strip():
                return canonical([{"name": call.name, "arguments": call.arguments} for call in calls]).decode()
            case Answer(content=content) | Said(content=content):
                return content
            case _:
                return None

    def saying(self, text: str) -> Turn:
        """Return the turn with ``text`` in place of the answer it was read out of."""
        return replace(self, outcome=Said(text))

    def about(self, task: int | None) -> Turn:
        """Return the turn as one about ``task``."""
        return replace(self, task=task)


class _Said:
    """One answer as its author sees it, and as everybody else does: made for the first reader, shared by all."""

    __slots__ = ("_text", "_to_author", "_to_others", "name")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text
        self._to_author: Message | None = None
        self._to_others: Message | None = None

    def seen_by(self, name: str) -> Message:
        """Return it as the agent ``name`` sees it."""
        if name == self.name:
            self._to_author = self._to_author or Message(role="assistant", content=self._text)
            return self._to_author
        self._to_others = self._to_others or Message(role="user", content=f"{self.name}: {self._text}")
        return self._to_others


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was there before, task last, and the turns so far, in declared order."""

    opening: tuple[Message, ...]
    turns: tuple[Turn, ...] = ()
    #: the turns of the last step: one, or all of a parallel step
    last_step: tuple[Turn, ...] = ()
    _said: tuple[_Said, ...] = ()

    def plus(self, step: Iterable[Turn]) -> Transcript:
        """Return the transcript with the turns of one more step."""
        turns = tuple(step)
        # An answer that says nothing is in the record, but nobody is shown it: providers take no empty message.
        said = tuple(_Said(turn.name, text) for turn in turns if (text := turn.text) is not None and text.strip())
        return Transcript(self.opening, self.turns + turns, turns, self._said + said)

    def ending_with(self, turns: Iterable[Turn]) -> Transcript:
        """Return the same transcript with ``turns`` as what counts as its last step."""
        return replace(self, last_step=tuple(turns))

    def seen_by(self, name: str) -> Iterator[Message]:
        """Give the answers so far as the agent ``name`` sees them."""
        return (said.seen_by(name) for said in self._said)


def messages_for(
    agent_name: str, system: str | None, transcript: Transcript, after: Iterable[Message] = (), own: Iterable[Message] = ()
) -> tuple[Message, ...]:
    """Return the messages of one call.

    ``after`` is for this reader alone and stands after the transcript; ``own`` is what it said and did within the present visit.
    """
    messages = [Message(role="system", content=system)] if system else []
    for message in chain(transcript.opening, transcript.seen_by(agent_name), after, own):
        if messages and message.role == messages[-1].role == "assistant":
            messages.append(_GO_ON)
        messages.append(message)
    if messages[-1].role == "assistant":
        messages.append(_GO_ON)
    return tuple(messages)


def system_message(agent: AgentSpec, prompt: str | None, rules: str | None) -> str | None:
    """Return the agent's system message: its prompt, its role unless that is the default one, the swarm's rules."""
    role = f"Your role: {agent.role}" if agent.role != _USUAL_ROLE else None
    parts = [part for part in (prompt, role, rules) if part]
    return "\n\n".join(parts) or None
