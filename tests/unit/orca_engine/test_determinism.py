"""The riskiest assumption: one journal digest and one output for equal (item, answers), however the answers came.

Hypothesis draws swarms, failing calls, completion orders, cut points and stops.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orca_engine.bounds import bound_of
from orca_engine.ledger import prompt_tokens_at_most
from orca_engine.machine import Call
from orca_engine.program import calls_at_most, output_tokens_at_most
from orca_engine.replay import replay
from orca_engine.swarms import SWARMS
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, Path, journal_digest, read_journal
from orca_protocol.model import Answer, Failure, ModelRequest, Usage
from tests.unit.orca_engine.worlds import World, agent, calling, deciding, item_of, journal, out, run, spec_of

IMG = "https://example.org/a.png"
TOOLS = (("read", '{"path": "a"}'), ("write", "{}"), ("read", "[]"))
NAMES = st.sampled_from(["A", "B -> C", "naïve, agent", "日本", '"D', "Router", "{E}"])
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "GroupChat": {"speaker_selection": [None, "bidding"]},
    "MajorityVoting": {"voting": [None, "exact"]},
    "HierarchicalSwarm": {"synthesis": [None, False]},
    "PlannerWorkerSwarm": {"plan_max": [None, 2]},
    "auto": {"lead": [None, {"model_name": "m", "max_tokens": 77}]},
}


#: some are spent within the run, some are not; each has room for a first call
budgets = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "calls": st.integers(1, 20),
        "output_tokens": st.integers(77, 600),
        "input_tokens": st.integers(1000, 20_000) | st.integers(52_000, 200_000),
    },
)


@st.composite
def swarms(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(SWARMS)))
    least, most = SWARMS[kind].agents
    names = draw(st.lists(NAMES, min_size=max(1, least), max_size=4 if most is None else max(1, most), unique=True))
    agents = [
        agent(
            name,
            max_loops=draw(st.integers(1, 3)),
            auto_generate_prompt=draw(st.booleans()),
            role=draw(st.sampled_from(["worker", "critic"])),
            mcp_servers=draw(st.sampled_from([None, None, ["files"]])),
            max_tokens=draw(st.sampled_from([8, 20])),
        )
        for name in names
    ]
    for each in agents:
        if each["mcp_servers"] and draw(st.booleans()):
            each |= {"max_tool_rounds": draw(st.integers(1, 2)), "selected_tools": ["read"]}
        if kind != "GroupChat" and draw(st.integers(0, 3)) == 0:
            each["response_schema"] = {"type": "object"}
    options = {field: draw(st.sampled_from(values)) for field, values in OPTIONS.get(kind, {}).items()}
    if len(agents) == 1 and kind == "auto":
        options = {}
    budget = draw(budgets)
    fields = spec_of(
        kind,
        agents,
        max_loops=draw(st.integers(1, 3)),
        return_history=draw(st.booleans()),
        rules=draw(st.sampled_from([None, "Be brief."])),
        img=None if (budget or {}).get("input_tokens", 52_000) < 52_000 else draw(st.sampled_from([None, None, IMG])),
        budget=budget,
        **options,
    )
    if SWARMS[kind].tasks == "runs" and draw(st.integers(0, 3)) == 0:
        fields |= {"task": None, "tasks": ["T1", "T2"]}
    return fields


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    """A spec, and its answers: which calls fail or say nonsense is a function of the path, so that two executions see the same.

    Providers report little, or the most that can be, or nothing.
    """
    spec = draw(swarms())
    seed = draw(st.integers(0, 2**16))
    share = draw(st.sampled_from([0, 0, 1, 3]))
    code = draw(st.sampled_from(["empty_answer", "timeout", "rate_limited"]))
    reports = draw(st.sampled_from(["little", "most", "nothing"]))
    good = deciding(item_of(**spec))

    def answer(call: Call) -> Any:
        luck = hash((seed, *call.path)) % 10
        if luck < share:
            return Failure(code=code, detail=f"no answer at {call.path}")
        if isinstance(call.request, ModelRequest) and call.request.tools and luck > 6:
            return calling(call, *TOOLS[: luck - 6])
        return out(call) if luck < 2 * share else good(call)

    def reported(call: Call) -> Any:
        said = answer(call)
        if not isinstance(said, Answer) or reports == "little":
            return said
        return said.model_copy(update={"usage": most_of(call.asked) if reports == "most" else None})

    return spec, reported


def most_of(request: ModelRequest) -> Usage:
    return Usage(input_tokens=prompt_tokens_at_most(request), output_tokens=request.max_tokens)


def billed(entry: Entry) -> Usage:
    """The most that a provider can have billed for a call, whatever it reports."""
    if entry.answer is not None and entry.answer.usage is not None:
        return entry.answer.usage
    is_unread = entry.error is not None and entry.error.code == "rate_limited"
    return Usage(input_tokens=0, output_tokens=0) if is_unread else most_of(entry.asked)


@settings(max_examples=300, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_completion_order_changes_neither_journal_nor_output(world: tuple[dict[str, Any], Any], random: Any) -> None:
    spec, answer = world
    item = item_of(**spec)
    first, output = run(item, answer=answer)
    shuffled, again = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)))
    assert journal_digest(first) == journal_digest(shuffled)
    assert journal(first) == journal(shuffled)
    assert write(output) == write(again)
    calls = [entry for entry in first if isinstance(entry.request, ModelRequest)]
    asked = [entry.asked for entry in calls]
    assert len(asked) <= calls_at_most(item.spec)
    assert sum(request.max_tokens for request in asked) <= output_tokens_at_most(item.spec)
    assert len(first) <= bound_of(item.spec).entries
    if item.spec.budget is not None:
        most = item.spec.budget
        assert most.calls is None or output.usage.calls <= most.calls
        for field in ("output_tokens", "input_tokens"):
            ceiling, used = getattr(most, field), sum(getattr(billed(entry), field) for entry in calls)
            assert ceiling is None or used <= ceiling
    if output.status == "success":
        assert output.output
        assert all(message.content is not None for message in output.output)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_a_run_cut_at_any_entry_resumes_to_the_same_journal_and_asks_nothing_twice(
    world: tuple[dict[str, Any], Any], random: Any
) -> None:
    spec, answer = world
    item = item_of(**spec)
    entries, output = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)))
    for cut in {0, len(entries), *(random.randrange(len(entries) + 1) for _ in range(4))}:
        known = {Path(*entry.path): entry for entry in entries[:cut]}
        resuming = World(item, answer=answer, known=known, order=lambda calls: random.randrange(len(calls)))
        resumed, again = resuming.run()
        assert journal_digest(resumed) == journal_digest(entries)
        assert write(again) == write(output)
        assert len(resuming.asked) == len(entries) - cut


@settings(max_examples=250, deadline=None)
@given(worlds(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_a_stopped_run_replays_to_its_own_output_whatever_was_open(
    world: tuple[dict[str, Any], Any], random: Any, after: int
) -> None:
    spec, answer = world
    item = item_of(**spec)
    entries, output = run(item, answer=answer, order=lambda calls: random.randrange(len(calls)), stop_after=after)
    assert write(replay(item, read_journal(journal(entries)))) == write(output)
    if any(entry.kind == "stop" for entry in entries):
        assert output.stopped == "cancelled"
        assert output.status != "success"


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_replay_refuses_a_journal_with_a_dropped_reordered_or_duplicated_entry(
    world: tuple[dict[str, Any], Any], data: st.DataObject
) -> None:
    spec, answer = world
    item = item_of(**spec)
    entries, output = run(item, answer=answer)
    entries = list(read_journal(journal(entries)))
    assert write(replay(item, entries)) == write(output)
    assume(entries)  # a budget may leave nothing to ask
    at = data.draw(st.integers(0, len(entries) - 1))
    with pytest.raises(InvalidError):
        replay(item, entries[:at] + entries[at + 1 :])
    with pytest.raises(InvalidError, match="journal_order"):
        replay(item, [*entries[: at + 1], *entries[at:]])
    if len(entries) > 1:
        with pytest.raises(InvalidError, match="journal_order"):
            replay(item, entries[::-1])
