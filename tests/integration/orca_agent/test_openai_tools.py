"""Tools of the OpenAI API by its own client: what a model calls is the answer, and what it returned goes into the next request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, pydantic_function_tool
from pydantic import BaseModel

from orca_protocol.model import ToolCall
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Book(BaseModel):
    """Book seats."""

    seats: int


PARAMETERS = {"type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}
BOOK: Any = {"type": "function", "function": {"name": "book", "description": "Books seats.", "parameters": PARAMETERS}}
LOOK: Any = {"type": "function", "function": {"name": "look", "strict": False}}
STRICT: Any = {"type": "function", "function": {"name": "book", "parameters": PARAMETERS, "strict": True}}
ASKED: Any = {"role": "user", "content": "Book two seats."}
CALLS = (ToolCall(id="c1", name="book", arguments='{"seats": 2}'), ToolCall(id="c2", name="look", arguments="{}"))
SENT = [
    {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"seats": 2}'}},
    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
]


def result(call: str, content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


@pytest.fixture
def calling(talker: Talker) -> Callable[..., None]:
    """Have the model call tools in its next answer, and say ``text`` beside."""

    def calling(*calls: ToolCall, text: str = "") -> None:
        talker.tool_calls["?"] = [calls or CALLS]
        talker.scripts = [[text] if text else []]

    return calling


async def test_what_the_model_calls_is_the_answer(
    shared: Service, client: AsyncOpenAI, talker: Talker, calling: Callable[..., None]
) -> None:
    calling()
    answer = await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK, LOOK])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [call.to_dict() for call in choice.message.tool_calls or ()] == SENT
    told = talker.calls[0].request.tools or ()
    assert [tool.document() for tool in told] == [
        {"name": "book", "description": "Books seats.", "parameters": PARAMETERS},
        {"name": "look", "parameters": {"type": "object", "properties": {}}},
    ]
    output = (await shared.client.get(f"/v1/runs/{answer.id}/output")).json()
    assert [call["name"] for call in output["output"][0]["tool_calls"]] == ["book", "look"], "the run has them as well"


async def test_text_beside_calls_is_told_and_text_alone_has_none(
    client: AsyncOpenAI, talker: Talker, calling: Callable[..., None]
) -> None:
    calling(text="I book.")
    (choice,) = (await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK])).choices
    assert (choice.message.content, choice.finish_reason, len(choice.message.tool_calls or ())) == ("I book.", "tool_calls", 2)
    talker.finish_reason = "tool_calls"
    (choice,) = (await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK])).choices
    assert (choice.message.content, choice.message.tool_calls) == ("out(?,2)", None)
    assert choice.finish_reason == "stop", "a client that reads tool_calls there looks for calls"


async def test_an_answer_that_was_cut_off_says_so_also_where_it_calls(
    client: AsyncOpenAI, talker: Talker, calling: Callable[..., None]
) -> None:
    calling()
    talker.finish_reason = "length"
    (choice,) = (await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK, LOOK])).choices
    assert (choice.finish_reason, len(choice.message.tool_calls or ())) == ("length", 2)


@pytest.mark.parametrize("text", ["", "I book at once."])
async def test_a_stream_tells_calls_by_their_index(client: AsyncOpenAI, calling: Callable[..., None], text: str) -> None:
    calling(text=text)
    stream = await client.chat.completions.create(
        model="scripted", messages=[ASKED], tools=[BOOK, LOOK], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert (said[0].delta.role, said[0].delta.content or "") == ("assistant", text)
    assert said[0].delta.content is not None or not text
    calls = [call for choice in said for call in choice.delta.tool_calls or ()]
    assert [call.to_dict() for call in calls] == [{"index": 0, **SENT[0]}, {"index": 1, **SENT[1]}]
    assert [choice.finish_reason for choice in said] == [None] * (len(said) - 1) + ["tool_calls"]
    assert chunks[-1].usage is not None


async def test_the_clients_own_helper_puts_a_stream_together(client: AsyncOpenAI, calling: Callable[..., None]) -> None:
    calling(ToolCall(id="c1", name="Book", arguments='{"seats": 2}'))
    tool = pydantic_function_tool(Book)
    async with client.chat.completions.stream(model="scripted", messages=[ASKED], tools=[tool]) as stream:
        kinds = [event.type async for event in stream]
        whole = await stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    calls = whole.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [Book(seats=2)]


async def test_the_next_request_carries_what_was_called_and_what_it_returned(
    client: AsyncOpenAI, talker: Talker, calling: Callable[..., None]
) -> None:
    calling()
    first = await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK, LOOK])
    said: Any = first.choices[0].message  # goes back as the client holds it
    results: Any = [result("c2", [{"type": "text", "text": "two"}, {"type": "text", "text": "lines"}]), result("c1", "")]
    answer = await client.chat.completions.create(
        model="scripted", messages=[{"role": "system", "content": "Be kind."}, ASKED, said, *results], tools=[BOOK, LOOK]
    )
    assert answer.choices[0].finish_reason == "stop"
    messages = [message.document() for message in talker.calls[-1].request.messages]
    assert messages[1:] == [
        {"role": "user", "content": "Book two seats."},
        {"role": "assistant", "content": "", "tool_calls": [call.document() for call in CALLS]},
        {"role": "tool", "tool_call_id": "c2", "content": "two\nlines"},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ]
    assert [tool.name for tool in talker.calls[-1].request.tools or ()] == ["book", "look"]


async def test_who_wants_no_call_has_no_tools_offered(client: AsyncOpenAI, talker: Talker) -> None:
    for choice in ("none", "auto"):
        await client.chat.completions.create(
            model="scripted", messages=[ASKED], tools=[BOOK], tool_choice=choice, parallel_tool_calls=True
        )
    assert [call.request.tools is None for call in talker.calls] == [True, False]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("arguments", ['{"seats": "two"}', "{}", "two"])
async def test_a_strict_functions_arguments_fulfil_its_parameters_or_there_is_no_answer(
    client: AsyncOpenAI, calling: Callable[..., None], arguments: str, stream: bool
) -> None:
    call = ToolCall(id="c1", name="book", arguments=arguments)
    calling(call)
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[STRICT], stream=stream)
    assert caught.value.code == "run_error"
    assert "book" in caught.value.message
    calling(call)
    (choice,) = (await client.chat.completions.create(model="scripted", messages=[ASKED], tools=[BOOK])).choices
    assert [made.function.arguments for made in choice.message.tool_calls or () if made.type == "function"] == [arguments]


@pytest.mark.parametrize(
    ("sent", "code", "named"),
    [
        ({"tools": [BOOK], "tool_choice": "required"}, "field_unsupported", "tool_choice"),
        (
            {"tools": [BOOK], "tool_choice": {"type": "function", "function": {"name": "book"}}},
            "field_unsupported",
            "tool_choice",
        ),
        ({"tools": [BOOK], "parallel_tool_calls": False}, "field_unsupported", "parallel_tool_calls"),
        ({"tools": [{"type": "custom", "custom": {"name": "book"}}]}, "schema", "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "book a seat"}}]}, "schema", "tools[0].function.name"),
        ({"tools": [BOOK, LOOK, BOOK]}, "schema", None),
        ({"tools": [{"type": "function", "function": {**STRICT["function"], "parameters": {"pattern": "x"}}}]}, None, None),
        ({"functions": [{"name": "book"}]}, "field_unsupported", "functions"),
        ({"function_call": {"name": "book"}}, "field_unsupported", "function_call"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": SENT}]}, "schema", "messages[1].role"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": SENT}, result("c1")]}, "schema", "messages[2].role"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": SENT}, result("c3")]}, "schema", "messages[2].tool_call_id"),
        ({"messages": [ASKED, {"role": "assistant", "content": "I did."}, result("c1")]}, "schema", "messages[2].tool_call_id"),
        ({"messages": [{**ASKED, "tool_calls": SENT}]}, "schema", "messages[0].tool_calls"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [{**SENT[0], "type": "custom"}]}]}, "schema", None),
        ({"messages": [{"role": "system", "content": "Call.", "tool_calls": SENT}, ASKED]}, "schema", "messages[0].role"),
    ],
)
async def test_what_no_tool_can_be_is_refused_by_name_before_any_call(
    client: AsyncOpenAI, talker: Talker, sent: dict[str, Any], code: str | None, named: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**{"model": "scripted", "messages": [ASKED], **sent})
    assert caught.value.code == (code or "schema_unsupported"), json.dumps(caught.value.body)
    if named is not None:
        assert caught.value.param == named
    assert talker.calls == []
