"""The live driver: asks the world what the engine wants to know, journals each outcome, and tells the engine.

The engine is told at once: what it asks next is intended after the outcome in the same journal, and often by the same write. So
nothing leaves this process because of an outcome before that outcome is durable, and neither does the run's end (docs/adr/0019).

Every open call is a task. A stop (cancel, deadline) ends them all: the entry of each open path, and of each path the
engine still asks for, is then that stop. A call whose outcome is already on its way into the journal is not stopped.
People are not waited for: when nothing is open but questions to them, the driver ends and says what they are asked.
When the driver itself is cancelled nothing is recorded: the run is interrupted and can be resumed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from orca_engine.machine import Call, Machine
from orca_engine.replay import refuse_difference
from orca_protocol.canonical import digest_of
from orca_protocol.journal import Entry, Outcome, Path, Stop, StopReason, entry_for
from orca_protocol.model import Attempt
from orca_protocol.world import Input, InputRequest

T = TypeVar("T")

Answered = tuple[Outcome, Sequence[Attempt]]


class InputAwaitedError(Exception):
    """The run cannot go on before somebody has answered one of ``calls``, which stand in path order."""

    def __init__(self, calls: Sequence[Call]) -> None:
        super().__init__(", ".join(str(call.path) for call in calls))
        self.calls = tuple(calls)


class World(Protocol):
    """What the driver needs of the world."""

    async def intend(self, calls: Sequence[Call]) -> None:
        """Keep durably that ``calls`` are about to be asked, not before every ``record`` that began earlier."""

    async def ask(self, call: Call) -> Answered:
        """Return what became of ``call``; may be cancelled."""

    async def record(self, call: Call, entry: Entry) -> None:
        """Keep ``entry`` durably."""

    async def end(self, entries: tuple[Entry, ...]) -> None:
        """Keep durably that the run has ended with ``entries``, which stand in path order; not before every ``record``."""


class LiveRun(Generic[T]):
    """Drives one machine to its end, with at most ``in_flight`` calls open at once (None: as many as the swarm is wide).

    Calls that come due together are intended in one write and then asked side by side. ``said`` is what people have answered.
    """

    def __init__(
        self,
        machine: Machine[T],
        world: World,
        known: Mapping[Path, Entry],
        *,
        said: Mapping[Path, Input] | None = None,
        in_flight: int | None = None,
    ) -> None:
        self._machine = machine
        self._world = world
        self._known = known
        self._said = said or {}
        #: questions that nobody has answered
        self._awaited: dict[Path, Call] = {}
        self._free = float("inf") if in_flight is None else in_flight
        self._due: deque[Call] = deque()
        self._entries: list[Entry] = []
        self._ended: tuple[Entry, ...] = ()
        self._open: dict[Path, asyncio.Task[None]] = {}
        self._digests: dict[Path, str] = {}
        self._group = asyncio.TaskGroup()
        self._stopped: StopReason | None = None

    async def drive(self) -> tuple[Entry, ...]:
        """Run to the end and return all entries in path order. Raises InputAwaitedError, and what ``record`` and ``end`` raise."""
        await self._until_idle(self._machine.start())
        if self._stopped is not None and self._awaited:
            awaited, self._awaited = self._awaited, {}
            await self._until_idle(awaited.values())
        if self._awaited:
            raise InputAwaitedError([self._awaited[path] for path in sorted(self._awaited)])
        return self._ended

    async def _until_idle(self, due: Iterable[Call]) -> None:
        """Proceed with ``due`` until nothing is open but questions to people."""
        self._group = asyncio.TaskGroup()
        try:
            async with self._group:
                self._proceed(due)
        except BaseExceptionGroup as group:
            raise _first(group) from group

    def stop(self, reason: StopReason) -> None:
        """End the run: every call that is open or due ends now, with ``reason`` as its entry. Later stops change nothing."""
        if self._stopped is None:
            self._stopped = reason
            self._free = float("inf")
            for task in self._open.values():
                task.cancel()

    def _proceed(self, due: Iterable[Call]) -> None:
        pending = deque(due)
        while pending:
            call = pending.popleft()
            entry = self._known.get(call.path)
            if entry is None and self._is_awaited(call):
                self._awaited[call.path] = call
            elif entry is None:
                self._due.append(call)
            else:
                refuse_difference(call, entry)
                pending.extend(self._take(call, entry))
        self._launch()
        if self._machine.is_done:
            self._ended = tuple(sorted(self._entries, key=lambda entry: entry.path))
            self._group.create_task(self._world.end(self._ended))

    def _is_awaited(self, call: Call) -> bool:
        return isinstance(call.request, InputRequest) and call.path not in self._said and self._stopped is None

    def _take(self, call: Call, entry: Entry) -> list[Call]:
        self._entries.append(entry)
        return self._machine.feed(call.path, entry.outcome)

    def _launch(self) -> None:
        batch: list[Call] = []
        while self._due and self._free >= 1:
            self._free -= 1
            batch.append(self._due.popleft())
        if batch:
            self._group.create_task(self._begin(batch))

    async def _begin(self, batch: Sequence[Call]) -> None:
        if self._stopped is None:
            await self._world.intend(batch)
        for call in batch:
            self._group.create_task(self._serve(call))
        await asyncio.sleep(0)  # now they are asked; what their entries need beside the answer is made while it is far away
        for call in (call for call in batch if call.path in self._open):
            self._digests[call.path] = digest_of(call.request.document())

    async def _serve(self, call: Call) -> None:
        outcome, attempts = await self._answer(call)
        self._free += 1
        digest = self._digests.pop(call.path, None) or digest_of(call.request.document())
        entry = entry_for(call.path, call.name, call.request, digest, outcome, attempts)
        try:
            self._proceed(self._take(call, entry))
        finally:  # asked for in this turn of the loop, and so before what the engine asks next
            await self._world.record(call, entry)

    async def _answer(self, call: Call) -> Answered:
        """Ask, unless or until the run is stopped. The path is open to a stop exactly while this runs."""
        if (stop := self._stop_entry()) is not None:
            return stop, ()
        if call.path in self._said:
            return self._said[call.path], ()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is served in a task")
        self._open[call.path] = task
        try:
            return await self._world.ask(call)
        except asyncio.CancelledError:
            # A second one is not the stop's: the driver itself was cancelled, or another call has failed.
            if (stop := self._stop_entry()) is None or task.cancelling() > 1:
                raise
            task.uncancel()
            return stop, ()
        finally:
            del self._open[call.path]

    def _stop_entry(self) -> Stop | None:
        return None if self._stopped is None else Stop(reason=self._stopped)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
