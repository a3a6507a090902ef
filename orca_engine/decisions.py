"""Decisions of a model: asked as one JSON object, read strictly, asked once more where they cannot be read.

What is wrong with an answer goes back to the model and into the journal, so that every word of it is ours: another version of
a parser, with other messages, must ask the same. An answer that cannot be read twice is a failure, never a default. A
fence around the object is accepted; every object may give its ``reasoning``, which nobody reads but people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orca_engine.forms import Form
from orca_engine.swarm import Swarm, told
from orca_engine.transcript import Transcript, Turn
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Stop
from orca_protocol.model import Failure, Message
from orca_protocol.spec import AgentSpec

T = TypeVar("T")

ANSWER_MAX_BYTES = 1_000_000
_FENCE = "```"
_NUMBER = (int, float)


class WORDS:
    """The kind of a text that says something: what is shown, ordered or handed out must not be blank."""


_KINDS: dict[Any, str] = {
    str: "a string",
    WORDS: "a string that is not blank",
    list: "a list",
    bool: "true or false",
    _NUMBER: "a number",
}

TEXT, LIST, FLAG, NUMBER = str, list, bool, _NUMBER


class Unreadable(ValueError):  # noqa: N818 - it says what an answer is
    """What is wrong with a decision, in words for the model that made it."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What was decided, and the turn of the agent that did."""

    value: T
    turn: Turn


async def decide(
    swarm: Swarm,
    agent: AgentSpec,
    transcript: Transcript,
    question: str,
    read: Callable[[Any], T],
    form: Form,
    *,
    loop: int,
    step: int,
    place: int = 0,
    doubt: Callable[[T], str | None] = lambda value: None,
) -> Decision[T] | Turn:
    """Ask ``agent`` for a decision at ``step``, and at the step after it where the first answer needs repair.

    ``read`` raises Unreadable; ``form`` is what the answer should look like, for who can hold a model to it. ``doubt`` says what is
    worth the repair question though the run could go on without: then the first answer counts where the second is no better, or
    the budget has no room for it. Without a decision the turn with its failure or stop is returned.
    """
    after = told(question)
    with swarm.asking(agent, transcript, after, form, loop=loop, step=step, place=place) as ask:
        turn = await ask(after, step)
        first = _read(turn, read)
        wrong = first if isinstance(first, str) else doubt(first.value) if isinstance(first, Decision) else None
        if wrong is None or turn.text is None:
            return first if isinstance(first, Decision) else turn
        said = (Message(role="assistant", content=turn.text),) if turn.text.strip() else ()  # providers take no empty message
        turn = await ask((*after, *said, *told(f"{wrong} Answer again, with the JSON object alone.")), step + 1)
    second = _read(turn, read)
    if isinstance(first, Decision) and not isinstance(second, Decision) and not _ends_the_run(turn):
        return first
    if isinstance(second, str):
        return Turn(turn.name, Failure(code="decision_unreadable", detail=f"after one repair question still: {second}"))
    return second


def _read(turn: Turn, read: Callable[[Any], T]) -> Decision[T] | Turn | str:
    if turn.text is None:
        return turn
    try:
        return Decision(read(_document(turn.text)), turn)
    except Unreadable as error:
        return str(error)


def _ends_the_run(turn: Turn) -> bool:
    return isinstance(turn.outcome, Stop) and turn.outcome.reason != "budget"


def _document(text: str) -> Any:
    try:
        return parse_json(_unfenced(text).encode(errors="surrogatepass"), max_bytes=ANSWER_MAX_BYTES, where="answer")
    except InvalidError as error:
        raise Unreadable(f"That is not one strict JSON object ({error.code}).") from error


def _unfenced(text: str) -> str:
    text = text.strip()
    if not (text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text):
        return text
    return text[text.index("\n") : -len(_FENCE)]


def members(document: Any, where: str, needed: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the members of a JSON object, None for an optional one that is absent or null. Raises Unreadable naming the member."""
    kinds = {**needed, **(optional or {}), "reasoning": TEXT}
    if not isinstance(document, dict):
        raise Unreadable(f"{where} is no JSON object.")
    for key in document:
        if key not in kinds:
            raise Unreadable(f"{where} has the unknown member {quoted(key)}; known are {', '.join(kinds)}.")
    for key, kind in kinds.items():
        value = document.get(key)
        if value is None and key not in needed:
            continue
        if not _is(value, kind):
            raise Unreadable(f"{where}.{key} must be {_KINDS[kind]}.")
    return {key: document.get(key) for key in kinds}


def _is(value: Any, kind: Any) -> bool:
    if kind is WORDS:
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, kind) and (kind is FLAG or not isinstance(value, bool))


def quoted(name: str) -> str:
    """Return a name that a model made up, short and as JSON writes it: the same in every version of this language."""
    return canonical(name[:100]).decode()


def named_once(name: str, known: Mapping[str, T], where: str, seen: set[str]) -> T:
    """Return what bears ``name``. Raises Unreadable for a name that is unknown, or that was ``seen`` before."""
    if name not in known:
        raise Unreadable(f"{where} names {quoted(name)}, which is unknown; known are {', '.join(known)}.")
    if name in seen:
        raise Unreadable(f"{where} names {quoted(name)} a second time.")
    seen.add(name)
    return known[name]
