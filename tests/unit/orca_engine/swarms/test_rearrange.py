"""AgentRearrange: the acceptance cases REA-1 to REA-8."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.flow import parse_flow
from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from orca_protocol.model import ModelRequest
from orca_protocol.world import InputRequest
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, prompt

ABC = [agent("A"), agent("B"), agent("C")]


def along(flow: str | None, **fields: Any) -> World:
    return World(item_of(**{"swarm_type": "AgentRearrange", "agents": ABC, "rearrange_flow": flow, **fields}))


def test_rea_1_agents_of_one_step_run_together_and_read_the_step_before() -> None:
    world = along("A -> B, C")
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"]
    assert world.most_open == 2
    for call in world.asked[1:]:
        assert "out(A,1.0.0.0.0)" in prompt(call)
        assert "out(B" not in prompt(call)
        assert "out(C" not in prompt(call)
    assert output.status == "success"


def test_rea_2_a_step_reads_answers_in_declared_order_whoever_was_first() -> None:
    world = along("A, B -> C")
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    texts = [message.content for message in world.asked[-1].asked.messages]
    assert texts == ["You are C.", "TASK", "A: out(A,1.0.0.0.0)", "B: out(B,1.0.1.0.0)"]
    assert [message.role for message in output.output] == ["A", "B", "C"]


def test_rea_3_an_agent_may_come_back_and_knows_its_own_words() -> None:
    world = along("A -> B -> A")
    _, output = world.run()
    turns = [(message.role, message.content) for message in world.asked[2].asked.messages]
    assert turns[2:] == [("assistant", "out(A,1.0.0.0.0)"), ("user", "B: out(B,1.1.0.0.0)")]
    assert [message.content for message in output.output][-1] == "out(A,1.2.0.0.0)"


def test_rea_4_passes_over_the_flow_keep_the_transcript() -> None:
    world = along("A -> B", max_loops=2)
    world.run()
    assert [call.name for call in world.asked] == ["A", "B", "A", "B"]
    assert "out(B,1.1.0.0.0)" in prompt(world.asked[2])


@pytest.mark.parametrize(
    ("flow", "code", "says"),
    [
        ("A -> Z", "flow_agent_unknown", ["step 2, at character 6", '"Z"', "A, B, C"]),
        ("A -> ", "flow_malformed", ["step 2, at character 6"]),
        ("A -> -> B", "flow_malformed", ["step 2"]),
        ("A,, B", "flow_malformed", ["step 1, at character 3"]),
        (", A", "flow_malformed", ["step 1, at character 1"]),
        ("", "flow_malformed", ["step 1"]),
        ("  ", "flow_malformed", ["step 1"]),
        (",", "flow_malformed", ["step 1"]),
        ('"A\\q"', "flow_malformed", ["character 1", "JSON string"]),
        (None, "flow_missing", ["A -> B, C"]),
        ("(A, B) -> C", "flow_agent_unknown", ["step 1, at character 1"]),
    ],
)
def test_rea_5_a_wrong_flow_is_refused_before_the_first_call_and_its_place_is_named(
    flow: str | None, code: str, says: list[str]
) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(along(flow).item.spec)
    assert caught.value.code == code
    assert caught.value.detail.startswith("rearrange_flow")
    assert all(words in caught.value.detail for words in says)


def test_rea_7_a_person_is_asked_reads_what_was_said_and_is_read_on() -> None:
    world = along("A -> H -> B")
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "H", "B"]
    human = world.asked[1]
    assert isinstance(human.request, InputRequest)
    assert [message.content for message in human.request.messages] == ["TASK", "A: out(A,1.0.0.0.0)"]
    assert "out(A,1.0.0.0.0)" in prompt(world.asked[2])
    assert "H: input(1.1.0.0.0)" in prompt(world.asked[2])
    assert [(message.role, message.content) for message in output.output][1] == ("H", "input(1.1.0.0.0)")
    assert output.usage.calls == 2
    assert calls_at_most(world.item.spec) == 2


def test_rea_7_beside_agents_a_person_reads_what_they_read() -> None:
    world = along("A -> B, H")
    world.run()
    assert world.most_open == 2
    human = world.asked[2].request
    assert isinstance(human, InputRequest)
    assert [message.content for message in human.messages] == ["TASK", "A: out(A,1.0.0.0.0)"]


def test_rea_7_without_a_person_the_run_ends_where_he_was_to_speak() -> None:
    world = along("A -> H -> B")
    world.answer = failing("H")
    _, output = world.run()
    assert (output.status, [message.role for message in output.output]) == ("error", ["A", "H"])


def test_rea_7_an_agent_called_h_is_an_agent() -> None:
    world = along("A -> H", agents=[*ABC, agent("H")])
    world.run()
    assert all(isinstance(call.request, ModelRequest) for call in world.asked)


@pytest.mark.parametrize("flow", ["A,B", "A , B", "A,B,", " A,\n\tB , "])
def test_rea_8_blanks_and_a_last_comma_do_not_count(flow: str) -> None:
    world = along(flow)
    world.run()
    assert [(call.name, call.path) for call in world.asked] == [("A", (1, 0, 0, 0, 0)), ("B", (1, 0, 1, 0, 0))]


def test_names_with_separators_are_written_as_json_strings() -> None:
    names = ["B -> C, 日本", 'say "hi"', '"Q', " blank ", "back\\slash", "a b"]
    agents = {name: item_of(agents=[agent(name)]).spec.agents[0] for name in names}
    flow = " -> ".join(json.dumps(name) for name in names)
    assert parse_flow(flow, agents) == tuple((agents[name],) for name in names)
    assert parse_flow('a b -> say "hi" -> "Q', agents) == tuple((agents[name],) for name in ("a b", 'say "hi"', '"Q'))


def test_a_long_hostile_flow_is_read_in_linear_time() -> None:
    with pytest.raises(InvalidError):
        admit(along("A" + " " * 900_000 + "x").item.spec)
    with pytest.raises(InvalidError):
        admit(along('"' * 900_000).item.spec)


def test_only_agents_of_the_flow_cost_anything() -> None:
    agents = [agent("A", max_loops=3), agent("B"), agent("C", auto_generate_prompt=True)]
    world = along("A -> B -> A", agents=agents, max_loops=2)
    world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 2 * (3 + 1 + 3)


def test_a_step_goes_on_with_who_answered_and_one_without_any_is_an_error() -> None:
    world = along("A, B -> C")
    world.answer = failing("B")
    _, output = world.run()
    assert (output.status, [call.name for call in world.asked]) == ("partial", ["A", "B", "C"])
    world = along("A -> B -> C")
    world.answer = failing("B")
    _, output = world.run()
    assert (output.status, [call.name for call in world.asked]) == ("error", ["A", "B"])
    assert [message.content for message in output.output] == ["out(A,1.0.0.0.0)", None]
