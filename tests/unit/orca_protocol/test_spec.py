"""SwarmSpec, AgentSpec, ScheduleSpec: fields, defaults and spellings of the Swarms API; everything else refused by name."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.spec import SWARM_TYPES, Condition, SwarmSpec, read_spec

EXAMPLE = Path(__file__).parents[3] / "examples" / "market-analysis.json"
AGENT = {"agent_name": "A", "model_name": "m"}


def read(**fields: Any) -> SwarmSpec:
    return read_spec(json.dumps({"agents": [AGENT], "task": "T", **fields}).encode())


def test_the_example_work_item_is_read() -> None:
    spec = read_spec(EXAMPLE.read_bytes())
    assert spec.name == "Financial Analysis Swarm"
    assert spec.swarm_type == "ConcurrentWorkflow"
    assert [agent.agent_name for agent in spec.agents] == ["Market Analyst", "Risk Analyst"]


def test_defaults_of_a_minimal_spec() -> None:
    spec = read()
    assert (spec.max_loops, spec.return_history, spec.swarm_type, spec.canonical_type) == (1, True, None, "SequentialWorkflow")
    agent = spec.agents[0]
    assert (agent.max_tokens, agent.temperature, agent.role, agent.max_loops, agent.auto_generate_prompt) == (
        8192,
        0.5,
        "worker",
        1,
        False,
    )


def test_an_image_of_two_and_a_half_mebibytes_fits_into_a_spec_and_one_of_three_does_not() -> None:
    def uri(size: int) -> str:
        return "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    assert read(img=uri(5 * 2**19)).img == uri(5 * 2**19)
    with pytest.raises(InvalidError, match="img"):
        read(img=uri(3 * 2**20 - 100_000))


def test_schedule_defaults_to_utc() -> None:
    spec = read(schedule={"scheduled_time": "2026-12-01T09:00:00"})
    assert spec.schedule is not None
    assert spec.schedule.timezone == "UTC"


@pytest.mark.parametrize("name", SWARM_TYPES)
def test_every_type_is_known(name: str) -> None:
    assert read(swarm_type=name).canonical_type == name


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("HiearchicalSwarm", "HierarchicalSwarm"),
        ("HierarchicalSwarm", "HierarchicalSwarm"),
        ("SpreadsheetSwarm", "SpreadSheetSwarm"),
    ],
)
def test_both_spellings_are_accepted_and_the_given_one_is_kept(given_name: str, meant: str) -> None:
    spec = read(swarm_type=given_name)
    assert (spec.swarm_type, spec.canonical_type) == (given_name, meant)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"swarm_typ": "auto"}, "swarm_typ"),
        ({"agents": [{**AGENT, "modle": 1}]}, "agents[0].modle"),
        ({"schedule": {"scheduled_time": "2026-12-01T09:00:00", "zone": "x"}}, "schedule.zone"),
        ({"schedule": {"scheduled_time": "tomorrow"}}, "schedule.scheduled_time"),
        ({"swarm_type": "Nonsense"}, "swarm_type"),
        ({"max_loops": 0}, "max_loops"),
        ({"max_loops": -1}, "max_loops"),
        ({"max_loops": "2"}, "max_loops"),
        ({"max_loops": 1.5}, "max_loops"),
        ({"max_loops": True}, "max_loops"),
        ({"return_history": "yes"}, "return_history"),
        ({"name": "x" * 101}, "name"),
        ({"task": ""}, "task"),
        ({"task": None}, "task"),
        ({"agents": [{"agent_name": "A"}]}, "agents[0].model_name"),
        ({"agents": [{**AGENT, "temperature": 2.1}]}, "agents[0].temperature"),
        ({"agents": [{**AGENT, "max_tokens": 0}]}, "agents[0].max_tokens"),
        ({"agents": [{**AGENT, "agent_name": ""}]}, "agents[0].agent_name"),
        ({"agents": [AGENT, AGENT]}, "agents[1].agent_name"),
        ({"agents": "A"}, "agents"),
        ({"tasks": ["T"]}, "task and tasks"),
        ({"task": None, "tasks": []}, "tasks"),
        ({"task": None, "tasks": [""]}, "tasks[0]"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"task": None, "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}, "messages[1].role"),
        ({"lead": {"agent_name": "L"}}, "lead.model_name"),
        ({"lead": {"agent_name": "A", "model_name": "m"}}, "lead.agent_name"),
        ({"lead": {"model_name": "m", "max_loops": 2}}, "lead.max_loops"),
        ({"voting": "loud"}, "voting"),
        ({"speaker_selection": "random"}, "speaker_selection"),
        ({"synthesis": "no"}, "synthesis"),
        ({"plan_max": 0}, "plan_max"),
        ({"plan_max": 101}, "plan_max"),
        ({"allowed_models": []}, "allowed_models"),
        ({"nodes": [{"name": "n"}]}, "nodes[0].agent_name"),
        ({"edges": [{"source": "A"}]}, "edges[0].target"),
        ({"edges": [{"source": "A", "target": "B", "condition": {}}]}, "edges[0].condition"),
        ({"edges": [{"source": "A", "target": "B", "condition": {"matches": ".*"}}]}, "edges[0].condition.matches"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read(**fields)
    assert caught.value.code == "schema"
    assert where in caught.value.detail


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidError) as caught:
        read(swarm_type="Nonsense")
    assert all(name in caught.value.detail for name in SWARM_TYPES)


def test_one_of_task_tasks_and_messages_is_needed_and_the_error_says_so() -> None:
    with pytest.raises(InvalidError, match="one of task, tasks and messages is needed"):
        read(task=None)
    assert read(task=None, tasks=["T"]).tasks == ("T",)
    assert read(messages=[{"role": "user", "content": "M"}]).asked == "T"
    assert read(task=None, messages=[{"role": "user", "content": "M"}]).asked == "M"


CALL = {"id": "c1", "name": "book", "arguments": "{}"}
ASKED = {"role": "user", "content": "Book."}
CALLS = {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2"}]}


def returned(call: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "done", **fields}


def test_a_conversation_may_end_with_what_tools_returned_and_the_task_is_what_the_user_said_last() -> None:
    spec = read(task=None, messages=[ASKED, CALLS, returned("c2", content=""), returned("c1")])
    assert spec.asked == "Book."
    assert spec.messages is not None
    assert [(turn.role, turn.content, turn.tool_call_id) for turn in spec.messages[1:]] == [
        ("assistant", None, None),
        ("tool", "", "c2"),
        ("tool", "done", "c1"),
    ]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([ASKED, CALLS, returned("c1")], r"messages\[2\]\.role: what the call 'c2' returned"),
        ([ASKED, CALLS, returned("c1"), ASKED], r"messages\[3\]\.role: first comes what the call 'c2' returned"),
        ([ASKED, CALLS, returned("c1"), returned("c1")], r"messages\[3\]\.tool_call_id"),
        ([ASKED, CALLS, returned("c3")], r"messages\[2\]\.tool_call_id"),
        ([ASKED, returned("c1")], r"messages\[1\]\.tool_call_id"),
        ([ASKED, {**CALLS, "tool_calls": [CALL, CALL]}], r"messages\[1\]\.tool_calls: two calls"),
        ([ASKED, {**CALLS, "tool_calls": []}], r"messages\[1\]\.tool_calls"),
        ([{**ASKED, "tool_calls": [CALL]}], r"messages\[0\]\.tool_calls: .*only an assistant"),
        ([{**ASKED, "tool_call_id": "c1"}], r"messages\[0\]\.tool_call_id"),
        ([ASKED, {"role": "tool", "content": "done"}], r"messages\[1\]\.tool_call_id"),
        ([ASKED, CALLS, {"role": "tool", "tool_call_id": "c1"}], r"messages\[2\]\.content"),
        ([{"role": "user"}], r"messages\[0\]\.content"),
        ([ASKED, {"role": "assistant", "content": ""}], r"messages\[1\]\.content"),
    ],
)
def test_calls_and_results_that_do_not_match_are_named_with_their_place(messages: list[Any], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        read(messages=messages)


def test_conditions_hold_letter_for_letter() -> None:
    condition = Condition(contains="yes", lacks="no")
    assert condition.holds("yes!")
    assert not condition.holds("Yes!")
    assert not condition.holds("yes and no")


def test_the_models_of_a_spec_are_those_of_agents_lead_and_builder_each_once() -> None:
    spec = read(agents=[AGENT, {**AGENT, "agent_name": "B"}], lead={"model_name": "l"}, allowed_models=["m", "x"])
    assert spec.model_names == ("m", "l", "x")


def test_null_agents_are_no_agents() -> None:
    assert read(agents=None).agents == ()


@given(
    st.dictionaries(
        st.sampled_from(["agents", "task", "name", "max_loops", "swarm_type", "x"]),
        st.none() | st.integers() | st.text() | st.lists(st.none()),
    )
)
def test_any_object_is_read_or_refused_by_our_own_error(document: dict[str, Any]) -> None:
    try:
        read_spec(json.dumps(document).encode())
    except OrcaError as error:
        assert error.detail
