"""The machine: declared order, misuse, width and depth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orca_engine.machine import Call, Machine, Program, all_of, ask
from orca_protocol.journal import Path
from tests.unit.orca_engine.worlds import agent, item_of, out


def call(*path: int) -> Call:
    from orca_engine.visit import request_for

    item = item_of(agents=[agent("A")])
    return Call(Path(*path), "A", request_for(item, item.spec.agents[0], Path(*path), ()))


async def one(*path: int) -> Any:
    return await ask(call(*path))


def test_results_stand_in_declared_order_whatever_was_fed_first() -> None:
    machine: Machine[list[Any]] = Machine(_all(one(1, 0, 0), one(1, 0, 1), one(1, 0, 2)))
    calls = machine.start()
    assert [due.path.visit for due in calls] == [0, 1, 2]
    for due in reversed(calls):
        machine.feed(due.path, out(due))
    assert machine.result == [out(due) for due in calls]


async def _all(*programs: Program[Any]) -> list[Any]:
    return await all_of(programs)


def test_nothing_side_by_side_is_an_empty_result_at_once() -> None:
    machine: Machine[list[Any]] = Machine(_all())
    assert machine.start() == []
    assert machine.result == []


def test_open_paths_are_those_asked_and_not_fed() -> None:
    machine: Machine[list[Any]] = Machine(_all(one(1, 0, 1), one(1, 0, 0)))
    first, _ = machine.start()
    before = machine.open_paths
    machine.feed(first.path, out(first))
    assert (before, machine.open_paths) == ((Path(1, 0, 0), Path(1, 0, 1)), (Path(1, 0, 0),))
    assert not machine.is_done
    machine.close()


def test_ten_thousand_agents_and_a_thousand_levels_need_no_stack() -> None:
    async def deep(level: int) -> Any:
        return await (all_of([deep(level - 1)]) if level else ask(call(1, 0, 0)))

    machine: Machine[Any] = Machine(deep(1000))
    (due,) = machine.start()
    machine.feed(due.path, out(due))
    assert machine.is_done
    wide: Machine[Any] = Machine(_all(*(one(1, 0, place) for place in range(10_000))))
    for due in wide.start():
        wide.feed(due.path, out(due))
    assert len(wide.result) == 10_000


async def _twice() -> Any:
    await ask(call(1, 0, 0))
    return await ask(call(1, 0, 0))


async def _sleep() -> Any:
    await asyncio.sleep(0)


def test_mistakes_of_a_swarm_type_are_bugs_and_not_outcomes() -> None:
    machine: Machine[Any] = Machine(_twice())
    (due,) = machine.start()
    with pytest.raises(RuntimeError, match="asked twice"):
        machine.feed(due.path, out(due))
    with pytest.raises(TypeError, match="only ask and all_of"):
        Machine(_sleep()).start()


def test_feeding_what_is_not_open_is_a_bug() -> None:
    machine: Machine[Any] = Machine(one(1, 0, 0))
    (due,) = machine.start()
    with pytest.raises(RuntimeError, match="not returned"):
        _ = machine.result
    machine.feed(due.path, out(due))
    with pytest.raises(RuntimeError, match="not open"):
        machine.feed(due.path, out(due))
    with pytest.raises(RuntimeError, match="once"):
        machine.start()
