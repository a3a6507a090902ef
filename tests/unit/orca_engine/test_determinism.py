"""The riskiest assumption: one journal digest and one output for equal (item, answers), however the answers came.

Hypothesis draws swarms, failing calls, completion orders, cut points and stops.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orca_engine.machine import Call
from orca_engine.replay import replay
from orca_engine.swarms import SWARMS
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Path, journal_digest, read_journal
from orca_protocol.model import Failure
from tests.unit.orca_engine.worlds import World, agent, item_of, journal, out, run

NAMES = st.sampled_from(["A", "B -> C", "naïve, agent", "日本", "D"])


@st.composite
def swarms(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    agents = [
        agent(
            name,
            max_loops=draw(st.integers(1, 3)),
            auto_generate_prompt=draw(st.booleans()),
            role=draw(st.sampled_from(["worker", "critic"])),
        )
        for name in names
    ]
    return {
        "agents": agents,
        "max_loops": draw(st.integers(1, 3)),
        "swarm_type": draw(st.sampled_from(sorted(SWARMS))),
        "return_history": draw(st.booleans()),
        "rules": draw(st.sampled_from([None, "Be brief."])),
    }


@st.composite
def failures(draw: st.DrawFn) -> Any:
    """Which calls fail is a function of the path, as it must be for two executions to see the same answers."""
    seed = draw(st.integers(0, 2**16))
    share = draw(st.sampled_from([0, 0, 1, 3]))

    def answer(call: Call) -> Any:
        broken = hash((seed, *call.path)) % 10 < share
        return Failure(code="scripted", detail=f"no answer at {call.path}") if broken else out(call)

    return answer


@settings(max_examples=150, deadline=None)
@given(swarms(), failures(), st.randoms(use_true_random=False))
def test_completion_order_changes_neither_journal_nor_output(spec: dict[str, Any], answer: Any, random: Any) -> None:
    item = item_of(**spec)
    first, output = run(item, answer=answer)
    shuffled, again = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)))
    assert journal_digest(first) == journal_digest(shuffled)
    assert journal(first) == journal(shuffled)
    assert write(output) == write(again)


@settings(max_examples=100, deadline=None)
@given(swarms(), failures(), st.randoms(use_true_random=False))
def test_a_run_cut_at_any_entry_resumes_to_the_same_journal_and_asks_nothing_twice(
    spec: dict[str, Any], answer: Any, random: Any
) -> None:
    item = item_of(**spec)
    entries, output = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)))
    for cut in range(len(entries) + 1):
        known = {Path(*entry.path): entry for entry in entries[:cut]}
        world = World(item, answer=answer, known=known, order=lambda calls: random.randrange(len(calls)))
        resumed, again = world.run()
        assert journal_digest(resumed) == journal_digest(entries)
        assert write(again) == write(output)
        assert len(world.asked) == len(entries) - cut


@settings(max_examples=150, deadline=None)
@given(swarms(), failures(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_a_stopped_run_replays_to_its_own_output_whatever_was_open(
    spec: dict[str, Any], answer: Any, random: Any, after: int
) -> None:
    item = item_of(**spec)
    entries, output = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)), stop_after=after)
    assert write(replay(item, read_journal(journal(entries)))) == write(output)
    if any(entry.kind == "stop" for entry in entries):
        assert output.stopped == "cancelled"
        assert output.status != "success"


@settings(max_examples=100, deadline=None)
@given(swarms(), failures(), st.data())
def test_replay_refuses_a_journal_with_a_dropped_reordered_or_duplicated_entry(
    spec: dict[str, Any], answer: Any, data: st.DataObject
) -> None:
    item = item_of(**spec)
    entries, output = run(item, answer=answer)
    entries = list(read_journal(journal(entries)))
    assert write(replay(item, entries)) == write(output)
    at = data.draw(st.integers(0, len(entries) - 1))
    with pytest.raises(InvalidError):
        replay(item, entries[:at] + entries[at + 1 :])
    with pytest.raises(InvalidError, match="journal_order"):
        replay(item, [*entries[: at + 1], *entries[at:]])
    if len(entries) > 1:
        with pytest.raises(InvalidError, match="journal_order"):
            replay(item, entries[::-1])
