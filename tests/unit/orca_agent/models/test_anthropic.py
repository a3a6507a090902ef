from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.models.anthropic import AnthropicProvider, AnthropicSettings
from orca_agent.models.base import Provider
from orca_agent.models.http import HttpClient, HttpSettings
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import Answer, Message, ModelIdentity, Usage
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca_agent.models.conftest import SMALL
from tests.unit.orca_agent.models.requests import ABSURD, asked, events

KEY = "sk-ant-test-0123456789"


@pytest.fixture
def provider(server: ScriptedServer, http: HttpClient) -> Provider:
    return AnthropicProvider(AnthropicSettings(api_key=SecretStr(KEY), base_url=server.url), http)


def turns(*said: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message.model_validate({"role": role, "content": content}) for role, content in said)


async def test_a_call_speaks_the_messages_format(provider: Provider, server: ScriptedServer) -> None:
    messages = turns(
        ("system", "AGENT:A one"),
        ("user", "u1"),
        ("user", "u2"),
        ("assistant", "a1"),
        ("system", "two"),
        ("assistant", "a2"),
        ("user", "u3"),
    )
    answer = await provider.complete("c", asked(messages=messages), None)
    (sent,) = server.stats()["requests"]
    assert sent["request"] == {
        "model": "c",
        "max_tokens": 64,
        "temperature": 0.5,
        "system": "AGENT:A one\n\ntwo",
        "messages": [
            {"role": "user", "content": "u1\n\nu2"},
            {"role": "assistant", "content": "a1\n\na2"},
            {"role": "user", "content": "u3"},
        ],
    }
    head = sent["head"].lower()
    assert f"x-api-key: {KEY}" in head
    assert "anthropic-version: 2023-06-01" in head
    assert answer == Answer(
        content="out(A,1)",
        finish_reason="stop",
        model=ModelIdentity(provider="anthropic", model="c-really"),
        usage=Usage(input_tokens=7, output_tokens=1),
    )


@pytest.mark.parametrize(
    ("field", "value"), [("max_tokens", 1), ("max_tokens", 100_000), ("temperature", 0.0), ("temperature", 1.0)]
)
async def test_each_field_reaches_the_wire_also_where_it_is_nothing(
    provider: Provider, server: ScriptedServer, field: str, value: float
) -> None:
    changed: dict[str, Any] = {field: value}
    await provider.complete("c", asked(**changed), None)
    assert server.stats()["requests"][0]["request"][field] == value


async def test_a_streamed_call_gives_the_same_answer_in_pieces(provider: Provider, server: ScriptedServer) -> None:
    server.reset({"reply": "one two €"})
    pieces: list[str] = []
    answer = await provider.complete("c", asked(), pieces.append)
    assert pieces == ["one ", "two ", "€"]
    assert answer.content == "one two €"
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(input_tokens=7, output_tokens=3)


async def test_a_temperature_it_does_not_know_is_refused_before_asking(provider: Provider, server: ScriptedServer) -> None:
    with pytest.raises(InvalidError, match=r"temperature_out_of_range.*1\.5"):
        await provider.complete("c", asked(temperature=1.5), None)
    assert server.stats()["total"] == 0


async def test_a_system_prompt_alone_is_no_conversation(provider: Provider, server: ScriptedServer) -> None:
    with pytest.raises(InvalidError, match="bad_request"):
        await provider.complete("c", asked(messages=turns(("system", "alone"))), None)
    assert server.stats()["total"] == 0


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ({"kind": "status", "status": 401}, InvalidError, "unauthorised"),
        ({"kind": "status", "status": 429}, UnavailableError, "rate_limited"),
        ({"kind": "status", "status": 529}, UnavailableError, "overloaded"),
        ({"kind": "truncated", "after": 4}, UnavailableError, "truncated_answer"),
        ({"kind": "malformed"}, UnavailableError, "malformed_answer"),
        ({"kind": "huge", "after": 30_000}, LimitError, "answer_too_large"),
        ({"kind": "null"}, InvalidError, "empty_answer"),
        ({"kind": "filtered"}, InvalidError, "model_refused"),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else None,
)
async def test_what_the_world_does_comes_out_typed(
    provider: Provider, server: ScriptedServer, fault: dict[str, Any], kind: type[OrcaError], code: str, streaming: bool
) -> None:
    server.reset({"agents": {"A": {"faults": [fault]}}})
    with pytest.raises(kind) as caught:
        await provider.complete("c", asked(), (lambda piece: None) if streaming else None)
    assert caught.value.code == code


async def test_names_are_listed(provider: Provider, server: ScriptedServer) -> None:
    server.reset({"models": ["c1", "c2"]})
    assert await provider.models() == ("c1", "c2")


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_model_that_ends_its_answer_with_blanks_alone_gave_none(
    provider: Provider, server: ScriptedServer, streaming: bool
) -> None:
    server.reset({"agents": {"A": {"reply": " \n"}}})
    with pytest.raises(InvalidError, match="empty_answer"):
        await provider.complete("c", asked(), (lambda piece: None) if streaming else None)


def offline() -> AnthropicProvider:
    return AnthropicProvider(AnthropicSettings(api_key=SecretStr(KEY)), HttpClient(HttpSettings(caps=SMALL)))


def streamed(*said: dict[str, Any]) -> Answer:
    return asyncio.run(offline()._streamed("c", events(*said), lambda piece: None))


def answered(text: str, stop_reason: str, usage: Any, *, streaming: bool, at_first: Any = None) -> Answer:
    """The same answer in both manners; a stream may have said another usage before."""
    if not streaming:
        reply = {"model": "c", "content": [{"type": "text", "text": text}], "stop_reason": stop_reason, "usage": usage}
        return offline()._whole("c", json.dumps(reply).encode())
    return streamed(
        {"type": "message_start", "message": {"model": "c", "usage": at_first}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage},
        {"type": "message_stop"},
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_a_name_that_fills_a_proof_is_no_part_of_an_answer(streaming: bool) -> None:
    with pytest.raises(UnavailableError, match=r"malformed_answer.*the finish reason has 201 characters"):
        answered("hi", "e" * 201, None, streaming=streaming)
    reply = {"model": "c" * 201, "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    with pytest.raises(UnavailableError, match=r"malformed_answer.*the model's name has 201 characters"):
        offline()._whole("c", json.dumps(reply).encode())


@pytest.mark.parametrize("streaming", [False, True])
def test_a_refusal_is_none_the_less_one_for_its_first_words(streaming: bool) -> None:
    with pytest.raises(InvalidError, match="model_refused"):
        answered("I would say", "refusal", None, streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("figure", ABSURD, ids=lambda figure: repr(figure)[:20])
def test_an_absurd_usage_is_none(figure: Any, streaming: bool) -> None:
    for usage in ({"input_tokens": figure, "output_tokens": 1}, {"input_tokens": 1, "output_tokens": figure}):
        answer = answered("said", "end_turn", usage, streaming=streaming, at_first={"input_tokens": 3, "output_tokens": 1})
        assert (answer.content, answer.usage) == ("said", None)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("usage", ["many", 7, [1, 2], True])
def test_a_usage_that_is_none_at_all(usage: Any, streaming: bool) -> None:
    answer = answered("said", "end_turn", usage, streaming=streaming, at_first={"input_tokens": 3, "output_tokens": 1})
    assert (answer.content, answer.usage) == ("said", None)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_largest_usage_there_is(streaming: bool) -> None:
    usage = {"input_tokens": 10_000_000_000, "output_tokens": 0}
    answer = answered("said", "end_turn", usage, streaming=streaming)
    assert answer.usage == Usage(input_tokens=10_000_000_000, output_tokens=0)


@pytest.mark.parametrize(
    ("type_", "kind", "code"),
    [
        ("overloaded_error", UnavailableError, "overloaded"),
        ("rate_limit_error", UnavailableError, "rate_limited"),
        ("api_error", UnavailableError, "server_error"),
        ("something_new", UnavailableError, "server_error"),
        ("invalid_request_error", InvalidError, "bad_request"),
        ("authentication_error", InvalidError, "unauthorised"),
        ("billing_error", InvalidError, "payment_required"),
        ("permission_error", InvalidError, "forbidden"),
        ("not_found_error", InvalidError, "not_found"),
        ("request_too_large", InvalidError, "request_too_large"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_reported_error_is_the_end(type_: str, kind: type[OrcaError], code: str, streaming: bool) -> None:
    error = {"type": "error", "error": {"type": type_, "message": "Overloaded"}}
    with pytest.raises(kind) as caught:
        streamed(error) if streaming else offline()._whole("c", json.dumps(error).encode())
    assert caught.value.code == code


def test_thinking_and_unknown_events_are_passed_over() -> None:
    answer = streamed(
        {"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "something_new", "delta": {"type": "text_delta_2"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "said"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )
    assert (answer.content, answer.finish_reason) == ("said", "length")
    assert answer.usage == Usage(input_tokens=3, output_tokens=9)


any_event = st.fixed_dictionaries(
    {"type": st.sampled_from(["message_start", "message_delta", "message_stop", "content_block_delta", "error", "ping"])},
    optional={
        "message": st.none() | st.fixed_dictionaries({"model": st.text(max_size=3)}) | st.integers(),
        "delta": st.none()
        | st.dictionaries(st.sampled_from(["type", "text", "stop_reason"]), st.text(max_size=4) | st.none())
        | st.integers(),
        "usage": st.none() | st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), st.integers() | st.floats()),
        "error": st.none() | st.text() | st.dictionaries(st.sampled_from(["type", "message"]), st.text(max_size=4)),
    },
)


@given(st.lists(any_event, max_size=6))
def test_any_stream_is_an_answer_or_one_family_of_errors(said: list[dict[str, Any]]) -> None:
    try:
        answer = streamed(*said)
    except OrcaError:
        return
    answer.content.encode()
