"""The live driver under shuffled completion, stops, interruption and resume: one journal, one output, nothing asked twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca_agent.work.live import Answered, LiveRun
from orca_engine.item import Item
from orca_engine.machine import Call, Machine
from orca_engine.program import output_of, program_of
from orca_engine.replay import replay
from orca_engine.swarm import Ended
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Entry, Path, journal_digest
from orca_protocol.model import Attempt, Failure
from orca_protocol.output import Output
from tests.unit.orca_engine.test_determinism import worlds
from tests.unit.orca_engine.worlds import agent, item_of, out


class Shuffled:
    """A world that answers after a random number of turns of the event loop, and remembers what it was told.

    What it keeps it keeps in the order in which it was told, as journals do.
    """

    def __init__(self, answer: Any = out, seed: int = 0) -> None:
        self.answer = answer
        self.random = random.Random(seed)
        self.intended: list[Path] = []
        self.asked: list[Path] = []
        self.recorded: list[Entry] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.after_record: Any = lambda count: None
        self.writes = asyncio.Lock()
        self.known: tuple[Entry, ...] = ()
        self.ended: tuple[Entry, ...] | None = None

    async def intend(self, calls: Sequence[Call]) -> None:
        async with self.writes:
            await self._wait()
            self.intended.extend(call.path for call in calls)

    async def ask(self, call: Call) -> Answered:
        assert call.path in self.intended
        self.asked.append(call.path)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._wait()
        finally:
            self.in_flight -= 1
        return self.answer(call), [Attempt(started="2026-01-01T00:00:00.000Z", duration_ms=self.random.randrange(9), outcome="x")]

    async def record(self, call: Call, entry: Entry) -> None:
        async with self.writes:
            await self._wait()
            self.recorded.append(entry)
        self.after_record(len(self.recorded))

    async def end(self, entries: tuple[Entry, ...]) -> None:
        async with self.writes:
            await self._wait()
            assert sorted(self.recorded, key=lambda entry: entry.path) == [e for e in entries if e not in self.known]
            self.ended = entries

    async def _wait(self) -> None:
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)


async def drive(item: Item, world: Shuffled, known: Sequence[Entry] = ()) -> tuple[tuple[Entry, ...], Output]:
    machine: Machine[Ended] = Machine(program_of(item))
    world.known = tuple(known)
    entries = await LiveRun(machine, world, {Path(*entry.path): entry for entry in known}).drive()
    assert entries == world.ended
    return entries, output_of(item, machine.result, entries)


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_latency_changes_neither_journal_digest_nor_output(drawn: tuple[dict[str, Any], Any], seed: int, other: int) -> None:
    spec, answer = drawn
    item = item_of(**spec)
    entries, output = asyncio.run(drive(item, Shuffled(answer, seed)))
    again, same = asyncio.run(drive(item, Shuffled(answer, other)))
    assert journal_digest(entries) == journal_digest(again)
    assert output == same == replay(item, entries)


@settings(max_examples=80, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 12))
def test_a_stop_at_any_moment_leaves_a_journal_that_replays(drawn: tuple[dict[str, Any], Any], seed: int, when: int) -> None:
    spec, answer = drawn
    item = item_of(**spec)

    async def run() -> tuple[tuple[Entry, ...], Output, Shuffled]:
        world = Shuffled(answer, seed)
        machine: Machine[Ended] = Machine(program_of(item))
        live = LiveRun(machine, world, {})
        if when == 0:
            live.stop("deadline")
        world.after_record = lambda count: live.stop("deadline") if count == when else None
        entries = await live.drive()
        return entries, output_of(item, machine.result, entries), world

    entries, output, world = asyncio.run(run())
    assert replay(item, entries) == output
    assert sorted(world.recorded, key=lambda entry: entry.path) == list(entries)
    assert len(world.asked) == len(set(world.asked))
    if any(entry.kind == "stop" for entry in entries):
        assert output.stopped == "deadline"
        assert output.status != "success"


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 2**32), st.integers(0, 12))
def test_a_run_killed_after_any_record_resumes_without_asking_what_is_journaled(
    drawn: tuple[dict[str, Any], Any], seed: int, when: int
) -> None:
    spec, answer = drawn
    item = item_of(**spec)
    whole, output = asyncio.run(drive(item, Shuffled(answer, seed)))

    async def killed() -> list[Entry]:
        world = Shuffled(answer, seed)
        task = asyncio.create_task(drive(item, world))
        world.after_record = lambda count: task.cancel() if count == when else None
        await asyncio.wait([task])
        assert task.cancelled() or when not in range(1, len(whole) + 1) or len(world.recorded) == len(whole)
        return world.recorded

    kept = asyncio.run(killed())
    assert all(entry.kind != "stop" for entry in kept)
    rest = Shuffled(answer, seed + 1)
    entries, again = asyncio.run(drive(item, rest, kept))
    assert journal_digest(entries) == journal_digest(whole)
    assert again == output
    assert sorted(rest.asked) == sorted({Path(*entry.path) for entry in whole} - {Path(*entry.path) for entry in kept})


async def test_agents_of_a_round_are_in_flight_together() -> None:
    world = Shuffled()
    world._wait = lambda: asyncio.sleep(0.01)  # type: ignore[method-assign]
    await drive(item_of(agents=[agent(f"A{n}") for n in range(200)], swarm_type="ConcurrentWorkflow"), world)
    assert world.most_in_flight == 200


async def test_a_call_stopped_while_its_entry_is_being_written_keeps_its_answer() -> None:
    item = item_of(agents=[agent("A"), agent("B")], swarm_type="ConcurrentWorkflow")
    machine: Machine[Ended] = Machine(program_of(item))
    world = Shuffled()
    live = LiveRun(machine, world, {})
    writing = asyncio.Event()

    async def record(call: Call, entry: Entry) -> None:
        async with world.writes:
            writing.set()
            await asyncio.sleep(0.01)
            world.recorded.append(entry)

    world.record = record  # type: ignore[method-assign]
    task = asyncio.create_task(live.drive())
    await writing.wait()
    in_writing = set(world.asked) - set(live._open)
    live.stop("cancelled")
    entries = await task
    assert in_writing
    assert {Path(*entry.path) for entry in entries if entry.kind == "answer"} >= in_writing
    assert entries == tuple(sorted(world.recorded, key=lambda entry: entry.path))


async def test_a_journal_that_fails_ends_the_run_with_its_own_error() -> None:
    world = Shuffled()

    async def record(call: Call, entry: Entry) -> None:
        raise UnavailableError("journal_unavailable", "disk full")

    world.record = record  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="disk full"):
        await drive(item_of(agents=[agent("A"), agent("B")], swarm_type="ConcurrentWorkflow"), world)
    assert world.in_flight == 0


async def test_a_journal_of_another_engine_is_refused_instead_of_continued() -> None:
    item = item_of(agents=[agent("A"), agent("B")])
    entries, _ = await drive(item, Shuffled())
    world = Shuffled()
    with pytest.raises(InvalidError, match="request_differs"):
        await drive(Item(item.id + "x", item.spec), world, entries[:1])
    assert world.asked == []


async def test_con_4_a_failing_agent_does_not_hold_up_the_others() -> None:
    def answer(call: Call) -> Any:
        return Failure(code="down", detail="no") if call.name == "B" else out(call)

    item = item_of(agents=[agent("A"), agent("B"), agent("C")], swarm_type="ConcurrentWorkflow")
    entries, output = await drive(item, Shuffled(answer))
    assert [entry.kind for entry in entries] == ["answer", "error", "answer"]
    assert output.status == "partial"


async def test_nothing_is_asked_on_the_ground_of_an_answer_that_is_not_durable_yet() -> None:
    """The write-ahead promise: B reads A's answer, so B is neither intended nor asked before A's entry is kept."""
    world = Shuffled()
    kept = asyncio.Event()
    writing = asyncio.Event()

    async def record(call: Call, entry: Entry) -> None:
        async with world.writes:
            writing.set()
            await kept.wait()
            world.recorded.append(entry)

    world.record = record  # type: ignore[method-assign]
    task = asyncio.create_task(drive(item_of(agents=[agent("A"), agent("B")]), world))
    await writing.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.intended == world.asked == [Path(1, 0, 0)]
    kept.set()
    entries, _ = await task
    assert len(entries) == 2


async def test_the_end_of_a_run_waits_until_its_last_answer_is_durable() -> None:
    world = Shuffled()
    task = asyncio.create_task(drive(item_of(agents=[agent("A")]), world))
    await world.writes.acquire()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    world.writes.release()
    entries, _ = await task
    assert world.recorded == list(entries)


async def test_nothing_is_asked_on_the_ground_of_an_answer_that_could_not_be_kept() -> None:
    world = Shuffled()

    async def record(call: Call, entry: Entry) -> None:
        async with world.writes:
            await asyncio.sleep(0)
            raise UnavailableError("journal_unavailable", "disk full")

    world.record = record  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="disk full"):
        await drive(item_of(agents=[agent("A"), agent("B")]), world)
    assert world.asked == [Path(1, 0, 0)]


async def test_the_answer_of_a_call_is_kept_even_where_the_engine_then_fails() -> None:
    item = item_of(agents=[agent("A")])
    machine: Machine[Ended] = Machine(program_of(item))

    def broken(path: Path, outcome: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    machine.feed = broken  # type: ignore[method-assign]
    world = Shuffled()
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await LiveRun(machine, world, {}).drive()
    assert [entry.kind for entry in world.recorded] == ["answer"]


async def test_a_stopped_run_ends_once() -> None:
    item = item_of(agents=[agent("A"), agent("B")], swarm_type="ConcurrentWorkflow")
    machine: Machine[Ended] = Machine(program_of(item))
    world = Shuffled()
    ended: list[int] = []

    async def end(entries: tuple[Entry, ...]) -> None:
        ended.append(len(entries))

    world.end = end  # type: ignore[method-assign]
    live = LiveRun(machine, world, {})
    live.stop("cancelled")
    await live.drive()
    assert ended == [2]


async def test_a_driver_that_is_cancelled_while_a_stopped_call_still_ends_is_interrupted_and_records_nothing() -> None:
    class Slow(Shuffled):
        async def ask(self, call: Call) -> Answered:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)  # its connection is closed
                raise
            raise AssertionError("nobody stopped it")

    world = Slow()
    machine: Machine[Ended] = Machine(program_of(item_of(agents=[agent("A"), agent("B")])))
    live = LiveRun(machine, world, {})
    task = asyncio.create_task(live.drive())
    while not live._open:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)
    live.stop("cancelled")
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.recorded, world.ended) == ([], None)


async def test_a_stop_also_ends_the_calls_that_wait_for_a_free_place() -> None:
    item = item_of(agents=[agent(f"A{n}") for n in range(6)], swarm_type="ConcurrentWorkflow")
    machine: Machine[Ended] = Machine(program_of(item))
    world = Shuffled()
    world._wait = lambda: asyncio.sleep(0.01)  # type: ignore[method-assign]
    live = LiveRun(machine, world, {}, in_flight=1)
    world.after_record = lambda count: live.stop("cancelled")
    entries = await asyncio.wait_for(live.drive(), 10)
    assert [entry.kind for entry in entries].count("stop") == 5
    assert len(world.asked) == 1
    assert world.most_in_flight == 1
