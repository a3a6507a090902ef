"""Tool calls on the wire: both formats, whole and streamed, and what servers make of them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.anthropic import AnthropicProvider, AnthropicSettings
from orca_agent.models.base import Caps, Deltas, Images, Provider
from orca_agent.models.http import HttpClient
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_agent.models.tools import Calls, ToolNames, as_object
from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from orca_protocol.model import Answer, Image, Message, ModelRequest, ToolCall, ToolDefinition
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca_agent.models.requests import asked

WEATHER = ToolDefinition(
    name="weather", description="Say how it is.", parameters={"type": "object", "properties": {"city": {"type": "string"}}}
)
DOTTED = ToolDefinition(name="files.read")
ARGUMENTS = '{"city": "Zürich", "days": 3}'
CALLS = (ToolCall(id="c-1", name="weather", arguments=ARGUMENTS), ToolCall(id="c-2", name="files.read", arguments="{}"))
PIXEL = b"\x89PNG\r\n\x1a\n made up"
IMAGE = Image(media_type="image/png", digest=hashlib.sha256(PIXEL).hexdigest())
IMAGES: Images = {IMAGE.digest: PIXEL}
IN_BASE64 = "iVBORw0KGgogbWFkZSB1cA=="

STREAMING: list[Deltas | None] = [None, lambda piece: None]
per_manner = pytest.mark.parametrize("on_delta", STREAMING, ids=["whole", "streamed"])
per_wire = pytest.mark.parametrize("wire", ["openai", "anthropic"])


@pytest.fixture
def provider(wire: str, server: ScriptedServer, http: HttpClient) -> Provider:
    if wire == "openai":
        return OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    return AnthropicProvider(AnthropicSettings(base_url=server.url), http)


def sent(server: ScriptedServer) -> dict[str, Any]:
    (request,) = server.stats()["requests"]
    found: dict[str, Any] = request["request"]
    return found


def talk(*messages: Message, **fields: Any) -> ModelRequest:
    return asked(messages=(Message(role="system", content="AGENT:A"), *messages), **fields)


@per_wire
@per_manner
async def test_calls_come_out_alike_whatever_the_format(
    provider: Provider, server: ScriptedServer, on_delta: Deltas | None
) -> None:
    scripted = [{"id": call.id, "name": re.sub(r"\.", "_", call.name), "arguments": call.arguments} for call in CALLS]
    server.reset({"agents": {"A": {"tool_calls": [scripted]}}})
    answer = await provider.complete("m", asked(tools=(WEATHER, DOTTED)), on_delta)
    assert isinstance(answer, Answer)
    assert (answer.content, answer.finish_reason) == ("", "tool_calls")
    assert answer.tool_calls is not None
    assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        (call.id, call.name, json.loads(call.arguments)) for call in CALLS
    ]


@per_wire
@per_manner
async def test_an_answer_in_words_has_no_calls(provider: Provider, on_delta: Deltas | None) -> None:
    answer = await provider.complete("m", asked(tools=(WEATHER,)), on_delta)
    assert (answer.content, answer.tool_calls) == ("out(A,1)", None)


@pytest.mark.parametrize("wire", ["openai"])
async def test_openai_is_told_of_tools_calls_and_results(provider: Provider, server: ScriptedServer) -> None:
    history = (
        Message(role="user", content="How is it?"),
        Message(role="assistant", content="", tool_calls=CALLS),
        Message(role="tool", content="rain", tool_call_id="c-1"),
        Message(role="tool", content="text", tool_call_id="c-2"),
    )
    await provider.complete("m", talk(*history, tools=(WEATHER, DOTTED)), None)
    body = sent(server)
    assert body["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "Say how it is.", "parameters": WEATHER.parameters}},
        {"type": "function", "function": {"name": "files_read", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert body["messages"][2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c-1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}},
                {"id": "c-2", "type": "function", "function": {"name": "files_read", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c-1"},
        {"role": "tool", "content": "text", "tool_call_id": "c-2"},
    ]


@pytest.mark.parametrize("wire", ["anthropic"])
async def test_anthropic_is_told_of_tools_calls_and_results(provider: Provider, server: ScriptedServer) -> None:
    history = (
        Message(role="user", content="How is it?"),
        Message(role="assistant", content="I look.", tool_calls=CALLS),
        Message(role="tool", content="rain", tool_call_id="c-1"),
        Message(role="tool", content="text", tool_call_id="c-2"),
        Message(role="user", content="And?"),
    )
    await provider.complete("m", talk(*history, tools=(WEATHER, DOTTED)), None)
    body = sent(server)
    assert body["tools"] == [
        {"name": "weather", "description": "Say how it is.", "input_schema": WEATHER.parameters},
        {"name": "files_read", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c-1", "name": "weather", "input": {"city": "Zürich", "days": 3}},
                {"type": "tool_use", "id": "c-2", "name": "files_read", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c-1", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "c-2", "content": "text"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize("wire", ["anthropic"])
async def test_anthropic_has_tools_declared_that_were_called_and_are_offered_no_more(
    provider: Provider, server: ScriptedServer
) -> None:
    results = [Message(role="tool", content="done", tool_call_id=call.id) for call in CALLS]
    await provider.complete("m", talk(Message(role="assistant", content="", tool_calls=CALLS), *results), None)
    body = sent(server)
    assert [tool["name"] for tool in body["tools"]] == ["weather", "files_read"]
    assert all(tool["input_schema"]["type"] == "object" for tool in body["tools"])
    assert body["tool_choice"] == {"type": "none"}, "what is declared for the record's sake alone may not be called"


@per_wire
async def test_images_go_out_as_their_bytes(provider: Provider, server: ScriptedServer, wire: str) -> None:
    await provider.complete("m", talk(Message(role="user", content="What is it?", images=(IMAGE,))), None, IMAGES)
    (content,) = [message["content"] for message in sent(server)["messages"] if message["role"] == "user"]
    text = {"type": "text", "text": "What is it?"}
    if wire == "openai":
        assert content == [text, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IN_BASE64}"}}]
    else:
        source = {"type": "base64", "media_type": "image/png", "data": IN_BASE64}
        assert content == [{"type": "image", "source": source}, text]


async def test_a_model_that_is_known_to_be_blind_is_shown_nothing(server: ScriptedServer, http: HttpClient) -> None:
    server.reset({"listing": {"data": [{"id": "m", "architecture": {"input_modalities": ["text"]}}]}})
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    await provider.models()
    with pytest.raises(InvalidError, match="vision_unsupported: openai/m reads text and no images"):
        await provider.complete("m", talk(Message(role="user", content="?", images=(IMAGE,))), None, IMAGES)
    assert server.stats()["total"] == 0


@per_wire
async def test_image_bytes_that_were_not_handed_in_are_our_mistake(provider: Provider) -> None:
    with pytest.raises(RuntimeError, match="not handed in"):
        await provider.complete("m", talk(Message(role="user", content="?", images=(IMAGE,))), None)


ODD_CALLS: list[tuple[str, list[dict[str, Any]], list[tuple[str, str, str]]]] = [
    ("arguments as an object", [{"id": "a", "function": {"name": "t", "arguments": {"x": 1}}}], [("a", "t", '{"x": 1}')]),
    ("no arguments", [{"id": "a", "function": {"name": "t"}}], [("a", "t", "{}")]),
    (
        "no id",
        [{"function": {"name": "t", "arguments": "{}"}}, {"id": "", "function": {"name": "t"}}],
        [("call_0", "t", "{}"), ("call_1", "t", "{}")],
    ),
    (
        "an id twice",
        [{"id": "a", "function": {"name": "t"}}, {"id": "a", "function": {"name": "u"}}],
        [("a", "t", "{}"), ("call_1", "u", "{}")],
    ),
    (
        "no id beside one that looks like ours",
        [{"id": "call_1", "function": {"name": "t"}}, {"function": {"name": "u"}}],
        [("call_1", "t", "{}"), ("call_2", "u", "{}")],
    ),
    (
        "no id before one that looks like ours",
        [{"function": {"name": "t"}}, {"id": "call_0", "function": {"name": "u"}}, {"id": "call_1", "function": {"name": "v"}}],
        [("call_2", "t", "{}"), ("call_0", "u", "{}"), ("call_1", "v", "{}")],
    ),
    ("arguments that are no JSON", [{"id": "a", "function": {"name": "t", "arguments": '{"x": '}}], [("a", "t", '{"x": ')]),
    ("a tool that is not there", [{"id": "a", "function": {"name": "no such thing"}}], [("a", "no such thing", "{}")]),
]


@pytest.mark.parametrize(("calls", "made"), [odd[1:] for odd in ODD_CALLS], ids=[odd[0] for odd in ODD_CALLS])
async def test_what_servers_leave_out_is_filled_in(
    server: ScriptedServer, http: HttpClient, calls: list[dict[str, Any]], made: list[tuple[str, str, str]]
) -> None:
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    reply = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    server.reset({"agents": {"A": {"faults": [{"kind": "raw", "message": json.dumps(reply)}]}}})
    answer = await provider.complete("m", asked(tools=(WEATHER,)), None)
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls or ()] == made


@pytest.mark.parametrize(
    "calls",
    [
        [{"id": "a"}],
        [{"id": "a", "function": {"name": ""}}],
        [{"id": "a", "function": {"name": "n" * 201}}],
        [{"id": "i" * 201, "function": {"name": "t"}}],
        ["weather"],
        {"name": "weather"},
        "weather",
        [{"id": 7, "function": {"name": "t"}}],
        [{"function": "weather"}],
    ],
    ids=lambda calls: json.dumps(calls)[:40],
)
async def test_garbage_for_calls_is_malformed(server: ScriptedServer, http: HttpClient, calls: Any) -> None:
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    reply = {"choices": [{"message": {"content": "x", "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    server.reset({"agents": {"A": {"faults": [{"kind": "raw", "message": json.dumps(reply)}]}}})
    with pytest.raises(UnavailableError, match="malformed_answer"):
        await provider.complete("m", asked(tools=(WEATHER,)), None)


def calls(caps: Caps | None = None) -> Calls:
    return Calls(caps or Caps(), ToolNames(()), "server")


def piece(into: Calls, place: int | None, identity: str | None, name: str | None, arguments: str | None) -> None:
    into.add(place=place, identity=identity, name=name, arguments=arguments)


@pytest.mark.parametrize(
    "places",
    [(0, 0, 1, 1), (None, None, None, None), (0, 0, 0, 0), (5, 5, 2, 2)],
    ids=["numbered", "unnumbered", "all at 0", "odd numbers"],
)
def test_pieces_find_their_call_however_a_server_numbers_them(places: tuple[int | None, ...]) -> None:
    collected = calls()
    for place, (identity, name, arguments) in zip(
        places, [("a", "t", ""), (None, None, "{1}"), ("b", "u", "{"), (None, None, "2}")], strict=True
    ):
        piece(collected, place, identity, name, arguments)
    assert collected.made() == (ToolCall(id="a", name="t", arguments="{1}"), ToolCall(id="b", name="u", arguments="{2}"))


def test_pieces_of_calls_side_by_side_are_not_mixed() -> None:
    collected = calls()
    for place, identity, name, arguments in [(0, "a", "t", "{"), (1, "b", "u", "["), (0, None, None, "}"), (1, None, None, "]")]:
        piece(collected, place, identity, name, arguments)
    assert [call.arguments for call in collected.made() or ()] == ["{}", "[]"]


def test_calls_have_caps() -> None:
    many = calls()
    for place in range(128):
        piece(many, place, "a", "t", "")
    with pytest.raises(LimitError, match="more than 128 tools"):
        piece(many, 128, "a", "t", "")
    long = calls(Caps(answer_bytes=100))
    for _ in range(33):
        piece(long, 0, None, "t", "xx")
    with pytest.raises(LimitError, match="answer_too_large"):
        piece(long, 0, None, "t", "xx")


tool_names = st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True), max_size=8) | st.lists(
    st.sampled_from(["a.b", "a_b", "a_b_2", "a.b.", "x" * 64, "x" * 65, "x" * 66, "x" * 62 + "_2"]), max_size=8
)


@given(tool_names)
def test_names_on_the_wire_are_plain_and_lead_back(given_names: list[str]) -> None:
    names = ToolNames(given_names)
    on_wire = {name: names.sent(name) for name in given_names}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in on_wire.values())
    assert len(set(on_wire.values())) == len(on_wire)
    assert all(names.meant(sent) == name for name, sent in on_wire.items())
    assert all(sent == name for name, sent in on_wire.items() if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name))


@given(
    st.text(max_size=40)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ).map(json.dumps)
)
def test_arguments_go_back_as_an_object_and_none_is_lost(arguments: str) -> None:
    found = as_object(arguments)
    assert found.get("not_an_object") == arguments or json.loads(arguments) == found


@pytest.mark.parametrize("wire", ["anthropic"])
async def test_logprobs_are_refused_by_name_where_there_are_none(provider: Provider, server: ScriptedServer) -> None:
    with pytest.raises(InvalidError, match="logprobs_unsupported"):
        await provider.complete("m", talk(Message(role="user", content="T"), logprobs=True), None)
    assert server.stats()["total"] == 0
