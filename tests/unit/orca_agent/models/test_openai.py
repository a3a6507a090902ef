from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.models.base import Caps, Provider
from orca_agent.models.http import HttpClient, HttpSettings
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_agent.models.tools import ToolNames
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import Answer, ModelIdentity, TokenLogprob, Usage
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca_agent.models.conftest import SMALL
from tests.unit.orca_agent.models.requests import ABSURD, Sent, asked, events

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def provider(server: ScriptedServer, http: HttpClient) -> Provider:
    return OpenAIProvider(OpenAISettings(base_url=server.openai, api_key=SecretStr(KEY)), http)


def faulty(server: ScriptedServer, **fault: Any) -> None:
    server.reset({"agents": {"A": {"faults": [fault]}}})


async def test_a_call_asks_for_what_the_request_says(provider: Provider, server: ScriptedServer) -> None:
    answer = await provider.complete("m", asked(), None)
    assert answer == Answer(
        content="out(A,1)",
        finish_reason="stop",
        model=ModelIdentity(provider="openai", model="m-really"),
        usage=Usage(input_tokens=5, output_tokens=1),
    )
    (sent,) = server.stats()["requests"]
    assert sent["request"] == {
        "model": "m",
        "messages": [{"role": "system", "content": "You are AGENT:A here"}, {"role": "user", "content": "TASK"}],
        "max_tokens": 64,
        "temperature": 0.5,
        "seed": 7,
    }
    assert f"authorization: bearer {KEY}" in sent["head"].lower()


FIELDS = [("max_tokens", 1), ("max_tokens", 100_000), ("temperature", 0.0), ("temperature", 2.0), ("seed", 0), ("seed", 2**32 - 1)]


@pytest.mark.parametrize(("field", "value"), FIELDS)
async def test_each_field_reaches_the_wire_also_where_it_is_nothing(
    provider: Provider, server: ScriptedServer, field: str, value: float
) -> None:
    changed: dict[str, Any] = {field: value}
    await provider.complete("m", asked(**changed), None)
    assert server.stats()["requests"][0]["request"][field] == value


async def test_a_streamed_call_gives_the_same_answer_in_pieces(provider: Provider, server: ScriptedServer) -> None:
    server.reset({"reply": "one two\nthree  vier €"})
    pieces: list[str] = []
    answer = await provider.complete("m", asked(), pieces.append)
    assert pieces == ["one ", "two\n", "three  ", "vier ", "€"]
    assert answer.content == "one two\nthree  vier €"
    assert answer.usage == Usage(input_tokens=5, output_tokens=5)
    assert answer.model.model == "m-really"
    assert server.stats()["requests"][0]["request"]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("streaming", [False, True])
async def test_usage_is_the_servers_or_absent(provider: Provider, server: ScriptedServer, streaming: bool) -> None:
    server.reset({"usage": False})
    answer = await provider.complete("m", asked(), (lambda piece: None) if streaming else None)
    assert answer.usage is None
    assert answer.tokens is None


async def test_connections_are_used_again(provider: Provider, server: ScriptedServer) -> None:
    for on_delta in (None, lambda piece: None, lambda piece: None, None):
        await provider.complete("m", asked(), on_delta)
    assert server.stats(prompts=False)["connections"] <= 3  # one of the provider, the others of these statistics


async def test_two_hundred_calls_are_in_flight_at_once(provider: Provider, server: ScriptedServer) -> None:
    server.reset({"agents": {f"a{i}": {"latency_ms": 400} for i in range(200)}})
    answers = await asyncio.gather(*(provider.complete("m", asked(f"a{i}"), None) for i in range(200)))
    assert [answer.content for answer in answers] == [f"out(a{i},1)" for i in range(200)]
    assert server.stats(prompts=False)["max_in_flight"] == 200


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ({"kind": "status", "status": 400}, InvalidError, "bad_request"),
        ({"kind": "status", "status": 401}, InvalidError, "unauthorised"),
        ({"kind": "status", "status": 404}, InvalidError, "not_found"),
        ({"kind": "status", "status": 307, "headers": {"Location": "/v1/elsewhere"}}, InvalidError, "redirect_refused"),
        ({"kind": "status", "status": 429, "type": "insufficient_quota"}, InvalidError, "payment_required"),
        ({"kind": "status", "status": 500}, UnavailableError, "server_error"),
        ({"kind": "status", "status": 503}, UnavailableError, "overloaded"),
        ({"kind": "truncated"}, UnavailableError, "truncated_answer"),
        ({"kind": "malformed"}, UnavailableError, "malformed_answer"),
        ({"kind": "disconnect"}, UnavailableError, "disconnected"),
        ({"kind": "huge", "after": 30_000}, LimitError, "answer_too_large"),
        ({"kind": "null"}, InvalidError, "empty_answer"),
        ({"kind": "tools"}, InvalidError, "empty_answer"),
        ({"kind": "filtered"}, InvalidError, "model_refused"),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else None,
)
async def test_what_the_world_does_comes_out_typed(
    provider: Provider, server: ScriptedServer, fault: dict[str, Any], kind: type[OrcaError], code: str, streaming: bool
) -> None:
    faulty(server, **fault)
    with pytest.raises(kind) as caught:
        await provider.complete("m", asked(), (lambda piece: None) if streaming else None)
    assert caught.value.code == code


async def test_retry_after_reaches_the_caller(provider: Provider, server: ScriptedServer) -> None:
    faulty(server, kind="status", status=429, headers={"Retry-After": "17"})
    with pytest.raises(UnavailableError, match="rate_limited") as caught:
        await provider.complete("m", asked(), None)
    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize("key", [KEY, "swordfish"])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 401, "message": "Incorrect API key provided: %s. See the docs."},
        {"kind": "raw", "message": '{"error": {"message": "Incorrect API key provided: %s. See the docs.", "code": 401}}'},
    ],
    ids=["refused", "inside a success"],
)
async def test_no_key_in_an_error(server: ScriptedServer, http: HttpClient, fault: dict[str, Any], key: str) -> None:
    faulty(server, **{**fault, "message": fault["message"] % key})
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai, api_key=SecretStr(key)), http)
    with pytest.raises(InvalidError) as caught:
        await provider.complete("m", asked(), None)
    assert key not in str(caught.value)
    assert key not in repr(provider.__dict__)
    assert "Incorrect API key provided: [struck out]" in caught.value.detail


async def test_a_stream_that_ends_without_a_finish_reason_is_truncated(provider: Provider, server: ScriptedServer) -> None:
    faulty(server, kind="truncated", after=3, clean=True)
    pieces: list[str] = []
    with pytest.raises(UnavailableError, match="truncated_answer"):
        await provider.complete("m", asked(), pieces.append)
    assert pieces == ["partial "]


async def test_an_error_inside_a_success(provider: Provider, server: ScriptedServer) -> None:
    faulty(server, kind="raw", message='{"error": {"message": "upstream is gone", "code": 502}}')
    with pytest.raises(UnavailableError, match="upstream is gone"):
        await provider.complete("m", asked(), None)
    faulty(server, kind="raw", message='{"error": {"message": "too long", "code": 400}}')
    with pytest.raises(InvalidError, match="too long"):
        await provider.complete("m", asked(), None)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_model_that_ends_its_answer_with_blanks_alone_gave_none(
    provider: Provider, server: ScriptedServer, streaming: bool
) -> None:
    server.reset({"agents": {"A": {"reply": " \n"}}})
    with pytest.raises(InvalidError, match="empty_answer"):
        await provider.complete("m", asked(), (lambda piece: None) if streaming else None)


def offline() -> OpenAIProvider:
    return OpenAIProvider(OpenAISettings(), HttpClient(HttpSettings(caps=SMALL)))


def said(*, streaming: bool, choice: dict[str, Any] | None = None, **more: Any) -> Answer:
    """What comes of one choice (by default a sound one) in both manners; a stream brings its text first, and the rest after it."""
    choice = {"finish_reason": "stop"} if choice is None else choice
    text = {"content": "half"}
    if not streaming:
        return offline()._whole("m", json.dumps({"choices": [{"message": text, **choice}], **more}).encode())
    stream = events({"choices": [{"delta": text}]}, {"choices": [{"delta": {}, **choice}], **more})
    return asyncio.run(offline()._streamed("m", stream, lambda piece: None))


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("choice", "kind", "code"),
    [
        ({"finish_reason": "content_filter"}, InvalidError, "model_refused"),
        ({"finish_reason": "error"}, UnavailableError, "server_error"),
        ({"finish_reason": "error", "error": {"code": 502, "message": "upstream"}}, UnavailableError, "server_error"),
        ({"finish_reason": "error", "error": {"code": 429, "message": "slow down"}}, UnavailableError, "rate_limited"),
        ({"finish_reason": "error", "error": {"code": 403, "message": "flagged"}}, InvalidError, "forbidden"),
        ({"finish_reason": "error", "error": {"code": "invalid_api_key"}}, InvalidError, "unauthorised"),
        ({"finish_reason": "stop", "error": {"message": "lost"}}, UnavailableError, "server_error"),
        ({"finish_reason": None, "error": "lost"}, UnavailableError, "server_error"),
    ],
)
def test_half_a_text_is_no_answer(choice: dict[str, Any], kind: type[OrcaError], code: str, streaming: bool) -> None:
    with pytest.raises(kind) as caught:
        said(choice=choice, streaming=streaming)
    assert caught.value.code == code


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"code": "invalid_api_key", "type": "invalid_request_error"}, InvalidError, "unauthorised"),
        ({"code": "model_not_found", "type": "invalid_request_error"}, InvalidError, "not_found"),
        ({"code": "insufficient_quota", "type": "insufficient_quota"}, InvalidError, "payment_required"),
        ({"code": 429, "type": "insufficient_quota"}, InvalidError, "payment_required"),
        ({"code": "rate_limit_exceeded", "type": "insufficient_quota"}, InvalidError, "payment_required"),
        ({"code": "billing_hard_limit_reached"}, InvalidError, "payment_required"),
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, InvalidError, "bad_request"),
        ({"code": None, "type": "invalid_request_error"}, InvalidError, "bad_request"),
        ({"code": "unheard_of", "type": "invalid_request_error"}, InvalidError, "bad_request"),
        ({"code": "content_filter"}, InvalidError, "model_refused"),
        ({"code": "404", "type": "None"}, InvalidError, "not_found"),
        ({"code": "rate_limit_exceeded", "type": "requests"}, UnavailableError, "rate_limited"),
        ({"code": "rate_limit_exceeded", "type": "invalid_request_error"}, UnavailableError, "rate_limited"),
        ({"code": 503, "type": "invalid_request_error"}, UnavailableError, "overloaded"),
        ({"code": 42, "type": "server_error"}, UnavailableError, "server_error"),
        ({"code": "unheard_of", "type": "unheard_of"}, UnavailableError, "server_error"),
        ({"message": None, "type": "NotFoundError"}, InvalidError, "not_found"),
        ({}, UnavailableError, "server_error"),
        ("model_not_found", InvalidError, "not_found"),
        ("out of memory", UnavailableError, "server_error"),
    ],
)
def test_an_error_is_known_by_its_name(error: Any, kind: type[OrcaError], code: str, streaming: bool) -> None:
    with pytest.raises(kind) as caught:
        said(error={"message": "as said", **error} if isinstance(error, dict) else error, streaming=streaming)
    assert caught.value.code == code


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("figure", ABSURD, ids=lambda figure: repr(figure)[:20])
def test_an_absurd_usage_is_none(figure: Any, streaming: bool) -> None:
    for usage in ({"prompt_tokens": figure, "completion_tokens": 1}, {"prompt_tokens": 1, "completion_tokens": figure}, figure):
        answer = said(usage=usage, streaming=streaming)
        assert (answer.content, answer.usage) == ("half", None)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_largest_usage_there_is(streaming: bool) -> None:
    answer = said(usage={"prompt_tokens": 0, "completion_tokens": 10_000_000_000, "total_tokens": -1}, streaming=streaming)
    assert answer.usage == Usage(input_tokens=0, output_tokens=10_000_000_000)


async def test_a_proxy_in_the_environment_is_not_asked(
    provider: Provider, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        for name in ("no_proxy", "NO_PROXY"):
            environment.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            environment.setenv(name, "http://127.0.0.1:1")
        assert (await provider.complete("m", asked(), None)).content == "out(A,1)"
    assert server.stats(prompts=False)["total"] == 1


async def test_a_body_beyond_the_cap_is_cut_off(provider: Provider, server: ScriptedServer) -> None:
    faulty(server, kind="huge", after=200_000)
    with pytest.raises(LimitError, match="body_too_large"):
        await provider.complete("m", asked(), None)


async def test_a_silent_server_times_out(server: ScriptedServer) -> None:
    faulty(server, kind="hang")
    http = HttpClient(HttpSettings(read=0.2))
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    for on_delta in (None, lambda piece: None):
        with pytest.raises(UnavailableError, match="timeout"):
            await provider.complete("m", asked(), on_delta)
    await http.close()


async def test_nobody_listens(http: HttpClient) -> None:
    provider = OpenAIProvider(OpenAISettings(base_url="http://127.0.0.1:1/v1"), http)
    with pytest.raises(UnavailableError, match="connect_failed"):
        await provider.models()


async def test_cancelling_closes_the_connection(provider: Provider, server: ScriptedServer) -> None:
    faulty(server, kind="hang")
    call = asyncio.create_task(provider.complete("m", asked(), None))
    while server.stats(prompts=False)["in_flight"] == 0:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    while server.stats(prompts=False)["in_flight"]:
        await asyncio.sleep(0.01)


async def test_a_listener_that_fails_is_not_taken_for_the_server(provider: Provider) -> None:
    def broken(piece: str) -> None:
        raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError):
        await provider.complete("m", asked(), broken)


async def test_names_are_listed_or_configured(provider: Provider, server: ScriptedServer, http: HttpClient) -> None:
    server.reset({"models": ["a", "b", "a"]})
    assert await provider.models() == ("a", "b")
    configured = OpenAIProvider(OpenAISettings(base_url=server.openai, models=("x",)), http)
    assert await configured.models() == ("x",)
    server.reset({"models": [f"m{i}" for i in range(51)]})
    with pytest.raises(UnavailableError, match="lists 51 models"):
        await provider.models()
    server.reset({"listing": {"data": [{"name": "nameless"}]}})
    with pytest.raises(UnavailableError, match="malformed_answer"):
        await provider.models()


def test_openai_itself_gets_its_newer_field() -> None:
    provider = OpenAIProvider(OpenAISettings(), HttpClient())
    body = provider._body("m", asked(), ToolNames(()), {})
    assert body["max_completion_tokens"] == 64
    assert "max_tokens" not in body


BAD_URLS = [
    "ftp://x",
    "http://",
    "localhost:80",
    "http://user:pw@host/v1",
    "http://host/v1?key=1",
    "",
    "http://[::1",
    "http://:pw@host",
    "http://@host",
    "http://host:99999/v1",
    "http://host:abc/v1",
    "http://host:-1",
    "http://host:0",
    "http://host/v1?",
    "http://host/v1#",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_base_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="bad_base_url"):
        OpenAIProvider(OpenAISettings(base_url=url), HttpClient())


@pytest.mark.parametrize("url", ["http://[::1]:8080/v1", "https://host", "http://host:65535/@x"])
def test_base_urls_that_are_taken(url: str) -> None:
    assert OpenAIProvider(OpenAISettings(base_url=url), HttpClient())._endpoint.base_url == url


@pytest.mark.parametrize("key", ["", " x", "a\nX-Other: b", "schlüssel"])
def test_keys_that_are_refused_without_showing_them(key: str) -> None:
    with pytest.raises(InvalidError) as caught:
        OpenAIProvider(OpenAISettings(api_key=SecretStr(key)), HttpClient())
    assert caught.value.code == "bad_api_key"
    assert not key.strip() or key not in caught.value.detail


async def test_a_closed_client_says_so(http: HttpClient) -> None:
    await http.close()
    with pytest.raises(UnavailableError, match="client_closed"):
        await http.get(OpenAIProvider(OpenAISettings(), http)._endpoint, "/models")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["choices", "model", "usage", "error", "message", "delta", "content", "finish_reason", "index", "refusal"])
replies = st.dictionaries(names, json_values | st.lists(st.dictionaries(names, json_values, max_size=4), max_size=3), max_size=4)


@given(st.binary(max_size=200) | replies.map(lambda reply: json.dumps(reply).encode()))
def test_any_answer_is_an_answer_or_one_family_of_errors(data: bytes) -> None:
    try:
        answer = offline()._whole("m", data)
    except OrcaError:
        return
    answer.content.encode()


@given(st.lists(st.binary(max_size=60) | replies.map(lambda r: b"data: " + json.dumps(r).encode() + b"\n\n"), max_size=6))
def test_any_stream_is_an_answer_or_one_family_of_errors(chunks: list[bytes]) -> None:
    try:
        answer = asyncio.run(offline()._streamed("m", Sent(chunks), lambda piece: None))
    except OrcaError:
        return
    answer.content.encode()


@pytest.mark.parametrize("data", [b'{"choices": [{"message": {"content": "\\ud800"}, "finish_reason": "stop"}]}', b"[" * 100_000])
def test_bytes_that_json_cannot_carry_are_malformed(data: bytes) -> None:
    provider = OpenAIProvider(OpenAISettings(), HttpClient())
    with pytest.raises(UnavailableError, match="malformed_answer"):
        provider._whole("m", data)


SAID = {
    "content": [{"token": "he", "logprob": -0.25, "bytes": [104]}, {"token": "y", "logprob": -9999.0}, {"token": "!", "logprob": 0}]
}
#: no probability is so large, and no token so long
BEYOND = [
    *({"content": [{"token": "x", "logprob": value}]} for value in (1e300, 1.5)),
    {"content": [{"token": "x" * 10_001, "logprob": -1}]},
]
WANTED = [("he", "-0.25"), ("y", "-9999"), ("!", "0")]


def reply(**choice: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hey!"}, **choice}]})


@pytest.mark.parametrize("wants", [True, False])
async def test_logprobs_are_asked_for_and_kept_only_where_they_are_wanted(
    provider: Provider, server: ScriptedServer, wants: bool
) -> None:
    faulty(server, kind="raw", message=reply(logprobs=SAID))
    answer = await provider.complete("m", asked(logprobs=True if wants else None), None)
    (sent,) = server.stats()["requests"]
    assert sent["request"].get("logprobs") is (True if wants else None)
    given = None if answer.logprobs is None else [(one.token, one.logprob) for one in answer.logprobs]
    assert given == (WANTED if wants else None)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(-3.4028234663852886e38, "-9999"), (-1e-20, "0"), (-0.1234567890123456, "-0.123456789012"), (1e-7, "0.0000001")],
)
async def test_a_logprob_of_any_size_is_kept_as_a_decimal(
    provider: Provider, server: ScriptedServer, value: float, kept: str
) -> None:
    """llama.cpp's server writes the lowest float for a probability of 0."""
    faulty(server, kind="raw", message=reply(logprobs={"content": [{"token": "x", "logprob": value}]}))
    answer = await provider.complete("m", asked(logprobs=True), None)
    assert answer.logprobs == (TokenLogprob(token="x", logprob=kept),)


@pytest.mark.parametrize("said", [None, {}, {"content": None}])
async def test_a_server_that_gives_no_logprobs_has_answered_all_the_same(
    provider: Provider, server: ScriptedServer, said: Any
) -> None:
    faulty(server, kind="raw", message=reply(logprobs=said))
    assert (await provider.complete("m", asked(logprobs=True), None)).logprobs is None


@pytest.mark.parametrize("said", [{"content": [{"token": "he"}]}, {"content": [{"token": "x", "logprob": "much"}]}, [1], *BEYOND])
async def test_logprobs_that_cannot_be_read_are_a_malformed_answer(provider: Provider, server: ScriptedServer, said: Any) -> None:
    faulty(server, kind="raw", message=reply(logprobs=said))
    with pytest.raises(UnavailableError, match="malformed_answer"):
        await provider.complete("m", asked(logprobs=True), None)


async def test_streamed_logprobs_stand_in_their_order(provider: OpenAIProvider) -> None:
    tokens = SAID["content"]
    chunks = events(
        *({"choices": [{"index": 0, "delta": {"content": each["token"]}, "logprobs": {"content": [each]}}]} for each in tokens),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}]},
    )
    answer = await provider._streamed("m", chunks, lambda piece: None, wants_logprobs=True)
    assert [(one.token, one.logprob) for one in answer.logprobs or ()] == WANTED


def wordy(token: str, count: int) -> Sent:
    """A stream that gives log probabilities of far more tokens than there are."""
    piece = {"delta": {"content": ""}, "logprobs": {"content": [{"token": token, "logprob": -1.0}] * count}}
    return events(*[{"choices": [piece]}] * 101, {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]})


def patient() -> OpenAIProvider:
    return OpenAIProvider(OpenAISettings(), HttpClient(HttpSettings(caps=Caps(answer_bytes=200_000))))


@pytest.mark.parametrize(("token", "count"), [("", 2000), ("long " * 1000, 8)])
async def test_streamed_logprobs_are_cut_off_by_number_and_by_size(token: str, count: int) -> None:
    with pytest.raises(LimitError, match="answer_too_large"):
        await patient()._streamed("m", wordy(token, count), lambda piece: None, wants_logprobs=True)


async def test_streamed_logprobs_that_nobody_wanted_are_not_kept() -> None:
    chunks = wordy("", 500)
    tracemalloc.start()
    answer = await patient()._streamed("m", chunks, lambda piece: None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.content, answer.logprobs) == ("x", None)
    assert most < 5_000_000


LONG = "m" * 201


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fields", [{"model": LONG}, {"choice": {"finish_reason": LONG}}], ids=["model", "finish reason"])
def test_a_name_that_fills_a_proof_is_no_part_of_an_answer(fields: dict[str, Any], streaming: bool) -> None:
    with pytest.raises(UnavailableError, match=r"malformed_answer.*has 201 characters; at most 200 are read"):
        said(streaming=streaming, **fields)
    assert said(streaming=streaming, model=LONG[1:]).model.model == LONG[1:]
