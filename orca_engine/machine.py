"""The two awaitables of a swarm type, and the machine that runs it without an event loop.

A swarm type is a coroutine that awaits only ``ask`` (one request to the world) and ``all_of`` (several coroutines side by
side, results in declared order). The machine steps it: ``start`` and ``feed`` return the calls that became due. It is
deterministic in the entries alone: whatever order answers are fed in, each path is asked the same request and the
program returns the same value. That holds because siblings share no mutable state; types keep transcripts immutable.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure, ModelRequest
from orca_protocol.world import Request, model_request

T = TypeVar("T")

#: a coroutine that awaits nothing but ``ask`` and ``all_of``
Program = Coroutine[Any, Any, T]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the world at its path, on behalf of the agent ``name``."""

    path: Path
    name: str
    request: Request

    @property
    def asked(self) -> ModelRequest:
        """The request of a model call; RuntimeError if something else is asked."""
        return model_request(self.request)


@dataclass(frozen=True, slots=True)
class _Together:
    programs: tuple[Program[Any], ...]


class _Wait(Generic[T]):
    """Hands ``what`` to the machine and resumes with what the machine sends back."""

    __slots__ = ("_what",)

    def __init__(self, what: Call | _Together) -> None:
        self._what = what

    def __await__(self) -> Generator[Call | _Together, T, T]:
        return (yield self._what)


def ask(call: Call) -> _Wait[Outcome]:
    """Await the outcome of ``call``."""
    return _Wait(call)


async def ask_model(call: Call) -> Answer | Failure | Stop:
    """Await what became of a model call."""
    outcome = await ask(call)
    if not isinstance(outcome, Answer | Failure | Stop):
        raise RuntimeError(f"path {call.path}: a model call was answered by {type(outcome).__name__}")
    return outcome


def all_of(programs: Iterable[Program[T]]) -> _Wait[list[T]]:
    """Await all ``programs`` side by side; the results stand in the order the programs were given."""
    return _Wait(_Together(tuple(programs)))


class _Task:
    """A running coroutine, and where its result goes."""

    __slots__ = ("parent", "place", "program", "results", "unfinished")

    def __init__(self, program: Program[Any], parent: _Task | None, place: int) -> None:
        self.program = program
        self.parent = parent
        self.place = place
        self.results: list[Any] = []
        self.unfinished = 0


class Machine(Generic[T]):
    """Runs one program. Calls of one ``start`` or ``feed`` come in declared order."""

    def __init__(self, program: Program[T]) -> None:
        self._root = _Task(program, None, 0)
        self._waiting: dict[Path, _Task] = {}
        self._asked: set[Path] = set()
        self._started = False
        self._result: list[T] = []

    @property
    def is_done(self) -> bool:
        """Whether the program has returned."""
        return bool(self._result)

    @property
    def result(self) -> T:
        """What the program returned; RuntimeError before it did."""
        if not self._result:
            raise RuntimeError("the program has not returned yet")
        return self._result[0]

    @property
    def open_paths(self) -> tuple[Path, ...]:
        """Paths that were asked and not fed, in path order."""
        return tuple(sorted(self._waiting))

    def start(self) -> list[Call]:
        """Run to the first requests."""
        if self._started:
            raise RuntimeError("a machine starts once")
        self._started = True
        return self._advance([(self._root, None)])

    def feed(self, path: Path, outcome: Outcome) -> list[Call]:
        """Tell the program what became of the request at ``path``; return the calls that are due now."""
        task = self._waiting.pop(path, None)
        if task is None:
            raise RuntimeError(f"path {path} is not open")
        return self._advance([(task, outcome)])

    def close(self) -> None:
        """Drop the program where it stands, so that no coroutine is left unfinished."""
        for task in [*self._waiting.values(), self._root]:
            current: _Task | None = task
            while current is not None:
                current.program.close()
                current = current.parent

    def _advance(self, ready: list[tuple[_Task, Any]]) -> list[Call]:
        # A stack with children pushed in reverse visits them in declared order without recursion, so that neither
        # width nor depth is bounded by the interpreter's own stack.
        due: list[Call] = []
        while ready:
            task, value = ready.pop()
            try:
                wanted = task.program.send(value)
            except StopIteration as returned:
                self._finish(task, returned.value, ready)
                continue
            if isinstance(wanted, Call):
                self._open(wanted, task)
                due.append(wanted)
            elif isinstance(wanted, _Together):
                self._fork(task, wanted, ready)
            else:
                raise TypeError(f"a swarm type may await only ask and all_of, not {wanted!r}")
        return due

    def _open(self, call: Call, task: _Task) -> None:
        if call.path in self._asked:
            raise RuntimeError(f"path {call.path} was asked twice")
        self._asked.add(call.path)
        self._waiting[call.path] = task

    @staticmethod
    def _fork(task: _Task, together: _Together, ready: list[tuple[_Task, Any]]) -> None:
        if not together.programs:
            ready.append((task, []))
            return
        task.unfinished = len(together.programs)
        task.results = [None] * task.unfinished
        children = [(_Task(program, task, place), None) for place, program in enumerate(together.programs)]
        ready.extend(reversed(children))

    def _finish(self, task: _Task, value: Any, ready: list[tuple[_Task, Any]]) -> None:
        parent = task.parent
        if parent is None:
            self._result.append(value)
            return
        parent.results[task.place] = value
        parent.unfinished -= 1
        if not parent.unfinished:
            results, parent.results = parent.results, []
            ready.append((parent, results))
