"""Tools within a visit: offered once, called side by side at paths of their own, told to the model, bounded in rounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import calls_at_most
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Outcome, journal_bytes, read_journal
from orca_protocol.model import Answer, Failure, ModelRequest, ToolDefinition
from orca_protocol.output import Output
from orca_protocol.world import Offer, OfferRequest, ToolRequest, ToolResult
from tests.unit.orca_engine.worlds import OFFER, World, agent, calling, item_of, out

READ = ("read", '{"path": "a"}')
FUNCTION = {"type": "function", "function": {"name": "book", "description": "books", "parameters": {"type": "object"}}}


def armed(name: str = "A", **fields: Any) -> dict[str, Any]:
    return agent(name, **{"mcp_servers": ["files"], **fields})


def world(*turns: Callable[[Call], Outcome], agents: list[dict[str, Any]] | None = None, **fields: Any) -> World:
    """The model answers with ``turns``, and then in words; everything else is answered as ``out`` does."""
    left = list(turns)

    def answer(call: Call) -> Outcome:
        return left.pop(0)(call) if isinstance(call.request, ModelRequest) and left else out(call)

    return World(item_of(agents=agents or [armed()], **fields), answer=answer)


def last(output: Output) -> Any:
    return output.output[-1]


def test_servers_are_asked_once_and_the_model_is_told_what_they_offer() -> None:
    run = world(agents=[armed("A"), armed("B", mcp_servers=None, mcp_url="files"), agent("C")], tasks=["T1", "T2"], task=None)
    run.run()
    assert [(call.path, call.request) for call in run.asked if isinstance(call.request, OfferRequest)] == [
        ((0, 0, 0, 0, 1), OfferRequest(source="files"))
    ]
    asked = [call for call in run.asked if isinstance(call.request, ModelRequest)]
    assert [(call.name, call.asked.tools) for call in asked] == [("A", OFFER.tools), ("B", OFFER.tools), ("C", None)] * 2


@pytest.mark.parametrize("bracket", ["{", "["])
@pytest.mark.parametrize("levels", range(50, 66))
@pytest.mark.parametrize("place", ["tools_list_dictionary", "response_schema"])
def test_a_schema_that_a_spec_may_hold_is_one_that_its_journal_is_read_with(place: str, levels: int, bracket: str) -> None:
    schema: Any = {}
    for _ in range(levels):
        schema = [schema] if bracket == "[" else {"items": schema}
    tool = {"type": "function", "function": {"name": "book", "parameters": {"const": schema}}}
    held = {"response_schema": {"const": schema}} if place == "response_schema" else {place: [tool]}
    try:
        item = item_of(agents=[agent("A", **held)])
    except InvalidError as error:
        assert error.code == "json_too_deep"
        return
    entries, _ = World(item).run()
    assert [entry.name for entry in read_journal(journal_bytes(entries))] == [entry.name for entry in entries]


def test_only_selected_tools_are_told_and_called() -> None:
    run = world(lambda call: calling(call, ("write", "{}")), agents=[armed(selected_tools=["read"])])
    run.run()
    assert [call.asked.tools for call in run.asked if isinstance(call.request, ModelRequest)] == [OFFER.tools[:1]] * 2
    assert not [call for call in run.asked if isinstance(call.request, ToolRequest)]
    assert "there is no tool of that name; there are: read" in run.asked[-1].asked.messages[-1].content


def test_tools_are_called_side_by_side_and_the_model_goes_on_with_their_results() -> None:
    run = world(lambda call: calling(call, READ, ("write", "{}")))
    _, output = run.run()
    tools = [call for call in run.asked if isinstance(call.request, ToolRequest)]
    assert [(call.path, call.request) for call in tools] == [
        ((1, 0, 0, 0, 1), ToolRequest(source="files", tool="read", arguments='{"path": "a"}')),
        ((1, 0, 0, 0, 2), ToolRequest(source="files", tool="write", arguments="{}")),
    ]
    assert run.most_open == 2
    after = run.asked[-1]
    assert after.path == (1, 0, 0, 1, 0)
    call, *results = after.asked.messages[-3:]
    assert (call.role, [tool.id for tool in call.tool_calls or ()]) == ("assistant", ["call-0", "call-1"])
    assert [(message.role, message.tool_call_id, message.content) for message in results] == [
        ("tool", "call-0", "read(1.0.0.0.1)"),
        ("tool", "call-1", "write(1.0.0.0.2)"),
    ]
    assert (last(output).content, output.usage.calls) == (f"out(A,{after.path})", 2)


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        (("nothing", "{}"), "Not called: there is no tool of that name; there are: read, write."),
        (("read", "[]"), "Not called: the arguments are not a JSON object."),
        (("read", "{"), "Not called: the arguments are not one strict JSON object (json_malformed)."),
    ],
)
def test_what_a_model_calls_wrongly_is_told_to_it_and_nothing_is_called(tool: tuple[str, str], says: str) -> None:
    run = world(lambda call: calling(call, tool))
    run.run()
    assert run.asked[-1].asked.messages[-1].content == says
    assert not [call for call in run.asked if isinstance(call.request, ToolRequest)]


def test_no_more_than_sixteen_tools_are_called_at_once() -> None:
    run = world(lambda call: calling(call, *[READ] * 17))
    run.run()
    assert sum(isinstance(call.request, ToolRequest) for call in run.asked) == 16
    assert "at most 16 tools are called at once" in run.asked[-1].asked.messages[-1].content


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (ToolResult.of("no such file", is_error=True), "The tool failed: no such file"),
        (Failure(code="tool_timeout", detail="30 s"), "The tool could not be called (tool_timeout): 30 s"),
    ],
)
def test_a_tool_that_fails_is_told_to_the_model_alone(outcome: Outcome, says: str) -> None:
    run = world(lambda call: calling(call, READ), agents=[armed("A"), agent("B")])
    answer = run.answer
    run.answer = lambda call: outcome if isinstance(call.request, ToolRequest) else answer(call)
    _, output = run.run()
    second, other = [call for call in run.asked if isinstance(call.request, ModelRequest)][1:]
    assert second.asked.messages[-1].content == says
    assert [message.role for message in other.asked.messages] == ["system", "user", "user"]
    assert output.status == "success"


def test_an_agent_that_calls_tools_for_ever_fails_when_its_rounds_are_up() -> None:
    def for_ever(call: Call) -> Outcome:
        return calling(call, READ) if isinstance(call.request, ModelRequest) else out(call)

    run = World(item_of(agents=[armed(max_tool_rounds=2)]), answer=for_ever)
    _, output = run.run()
    assert (output.status, last(output).error.code) == ("error", "tool_rounds")
    assert output.usage.calls == 3 == calls_at_most(run.item.spec)


@pytest.mark.parametrize(
    ("offer", "fields", "code"),
    [
        (Failure(code="mcp_unreachable", detail="down"), {}, "mcp_unreachable"),
        (Offer(tools=(ToolDefinition(name="book"),)), {"tools_list_dictionary": [FUNCTION]}, "tool_twice"),
        (Offer(tools=()), {"selected_tools": ["read"]}, "tool_unknown"),
    ],
)
def test_an_agent_without_the_tools_it_was_given_does_not_speak(offer: Outcome, fields: dict[str, Any], code: str) -> None:
    run = world(agents=[armed(**fields), agent("B")], swarm_type="ConcurrentWorkflow")
    run.answer = lambda call: offer if isinstance(call.request, OfferRequest) else out(call)
    _, output = run.run()
    assert (output.status, output.output[0].error and output.output[0].error.code) == ("partial", code)
    assert [call.name for call in run.asked if isinstance(call.request, ModelRequest)] == ["B"]


def test_a_function_of_the_callers_is_the_agents_answer() -> None:
    run = world(
        lambda call: calling(call, ("book", '{"seats": 2}')), agents=[agent("A", tools_list_dictionary=[FUNCTION]), agent("B")]
    )
    _, output = run.run()
    first = output.output[0]
    assert [(call.name, call.arguments) for call in first.tool_calls or ()] == [("book", '{"seats": 2}')]
    assert json.loads(first.content or "") == [{"name": "book", "arguments": '{"seats": 2}'}]
    assert [definition.name for definition in run.asked[0].asked.tools or ()] == ["book"]
    assert len(run.asked) == 2
    assert '"book"' in run.asked[1].asked.messages[-1].content


def test_a_function_that_is_called_in_an_earlier_loop_ends_the_visit() -> None:
    run = world(lambda call: calling(call, ("book", "{}")), agents=[agent("A", tools_list_dictionary=[FUNCTION], max_loops=3)])
    _, output = run.run()
    assert [call.name for call in last(output).tool_calls or ()] == ["book"]
    assert (output.status, len(run.asked)) == ("success", 1)


def test_blanks_beside_the_calls_do_not_hide_them() -> None:
    def blank(call: Call) -> Outcome:
        said = calling(call, ("book", "{}"))
        assert isinstance(said, Answer)
        return said.model_copy(update={"content": "\n"})

    _, output = world(blank, agents=[agent("A", tools_list_dictionary=[FUNCTION])]).run()
    assert json.loads(last(output).content) == [{"name": "book", "arguments": "{}"}]


def test_a_function_that_is_not_there_is_the_agents_failure_and_says_so() -> None:
    run = world(lambda call: calling(call, ("boook", "{}")), agents=[agent("A", tools_list_dictionary=[FUNCTION])])
    _, output = run.run()
    assert (output.status, len(run.asked)) == ("error", 1)
    assert last(output).error == Failure(
        code="function_unknown", detail='the agent called "boook", which is none of its functions: book'
    )


def test_every_loop_of_the_agent_has_its_own_rounds() -> None:
    turns = [lambda call: calling(call, READ), out, lambda call: calling(call, READ), out]
    run = world(*turns, agents=[armed(max_loops=2, max_tool_rounds=1)])
    _, output = run.run()
    assert (output.status, output.usage.calls) == ("success", 4)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def saying(text: str) -> Callable[[Call], Outcome]:
    def answer(call: Call) -> Outcome:
        said = out(call)
        assert isinstance(said, Answer)
        return said.model_copy(update={"content": text})

    return answer


def test_an_answer_that_breaks_its_schema_is_pointed_out_once() -> None:
    run = world(saying('{"n": "x"}'), saying('{"n": 1}'), agents=[agent("A", response_schema=SCHEMA), agent("B")])
    _, output = run.run()
    assert [call.asked.response_schema for call in run.asked] == [SCHEMA, SCHEMA, None]
    assert [message.content for message in run.asked[1].asked.messages[-2:]] == [
        '{"n": "x"}',
        "The answer does not fulfil the schema: answer/n breaks its 'type'. Answer again, with the JSON alone.",
    ]
    assert (output.output[0].content, output.status) == ('{"n": 1}', "success")
    assert calls_at_most(run.item.spec) == 3


def test_an_answer_that_breaks_its_schema_twice_is_a_failure() -> None:
    run = world(saying("no JSON"), saying("[]"), agents=[agent("A", response_schema=SCHEMA)])
    _, output = run.run()
    assert last(output).error.code == "schema_unfulfilled"
    assert last(output).error.detail.endswith("The answer does not fulfil the schema: answer breaks its 'type'.")


def test_a_decision_has_its_own_form_whatever_schema_the_agent_has() -> None:
    fields = {"swarm_type": "GroupChat", "speaker_selection": "round_robin"}
    run = world(agents=[agent("A", response_schema={}), agent("B")], **fields)
    run.run()
    assert run.asked[0].asked.response_schema == {}


def test_logprobs_are_asked_for_the_agent_that_wants_them() -> None:
    run = world(agents=[agent("A", logprobs=True), agent("B")])
    run.run()
    assert [call.asked.logprobs for call in run.asked] == [True, None]
