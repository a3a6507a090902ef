"""What people are asked in the middle of runs, and what they say: kept durably, once for each question.

A question is a row from when a run waits for its answer. An answer is kept before the run hears of it, so it survives whatever
happens until a worker has journaled it. All of this runs in the caller's transaction, which has locked the queue's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orca_agent.store.database import Connection
from orca_engine.machine import Call
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Path
from orca_protocol.world import Input, InputRequest

_ASK = "INSERT INTO inputs (run_id, path, step, request) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
_READ = "SELECT path, step, request, said, idempotency_key FROM inputs WHERE run_id = %s"
_SAY = "UPDATE inputs SET said = %s, idempotency_key = %s WHERE run_id = %s AND path = %s AND said IS NULL"


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked at ``path``, by the name of its step; ``said`` once somebody answered."""

    path: Path
    step: str
    request: InputRequest
    said: Input | None
    #: the caller's own name for the answer
    key: str | None

    def document(self) -> dict[str, Any]:
        """Return the question as people read it."""
        return asked_document(self.path, self.step, self.request)


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it was sent: for ``path``, or where only one is waited for, for that one."""

    said: Input
    path: str | None = None
    key: str | None = None


def asked_document(path: Path, step: str, request: InputRequest) -> dict[str, Any]:
    """Return what is asked at a path, with all that was said so far."""
    return {"path": str(path), "step": step, "messages": [message.document() for message in request.messages]}


async def ask(db: Connection, run_id: str, calls: Iterable[Call]) -> bool:
    """Keep the questions; return whether one of them was answered already."""
    paths = set()
    for call in calls:
        if not isinstance(call.request, InputRequest):
            raise RuntimeError(f"path {call.path} asks no person")
        await db.execute(_ASK, (run_id, str(call.path), call.name, call.request.model_dump_json()))
        paths.add(call.path)
    return any(question.path in paths and question.said is not None for question in await questions(db, run_id))


async def questions(db: Connection, run_id: str) -> list[Question]:
    """Return everything that people were asked in a run, in path order."""
    rows = await (await db.execute(_READ, (run_id,))).fetchall()
    return sorted((_question(*row) for row in rows), key=lambda question: question.path)


async def answers(db: Connection, run_id: str) -> Mapping[Path, Input]:
    """Return everything that people said in a run."""
    return {question.path: question.said for question in await questions(db, run_id) if question.said is not None}


async def give(db: Connection, run_id: str, given: Given) -> Question | None:
    """Keep an answer and return what it answers; None if that is kept already.

    Raises InvalidError ``not_awaiting`` where nothing is asked, ``input_given`` where something else was said,
    ``idempotency_conflict`` where the key stands for something else, ``input_path`` where it is not clear what is answered.
    """
    question = chosen(await questions(db, run_id), given)
    if question.said is not None:
        return None
    await db.execute(_SAY, (given.said.model_dump_json(), given.key, run_id, str(question.path)))
    return question


def chosen(asked: list[Question], given: Given) -> Question:
    """Return the question that ``given`` answers, which may have been answered so before. Raises as ``give`` does."""
    before = next((question for question in asked if given.key is not None and question.key == given.key), None)
    if before is not None:
        if before.said != given.said or given.path not in {None, str(before.path)}:
            raise InvalidError("idempotency_conflict", f"the idempotency key {given.key!r} was used for another input")
        return before
    named = [question for question in asked if given.path in {None, str(question.path)}]
    is_open = [question for question in named if question.said is None]
    if len(is_open) == 1:
        return is_open[0]
    if is_open:
        paths = ", ".join(str(question.path) for question in is_open)
        raise InvalidError("input_path", f"path: several people are asked; say which one this is for: {paths}")
    if not named:
        where = "" if given.path is None else f" at path {given.path[:60]!r}"
        raise InvalidError("not_awaiting", f"nobody is asked{where} in this run; GET /v1/runs/ID shows what is")
    if named[-1].said != given.said:
        raise InvalidError("input_given", f"path {named[-1].path} was answered already, with another text; the first one counts")
    return named[-1]


def _question(path: str, step: str, request: str, said: str | None, key: str | None) -> Question:
    return Question(
        Path(*map(int, path.split("."))),
        step,
        InputRequest.model_validate_json(request),
        None if said is None else Input.model_validate_json(said),
        key,
    )
