"""The OpenAI API's own client against the façade, unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from orca_agent.api.followers import Followers
from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: Any = [{"role": "user", "content": "Say something."}]


async def test_a_model_is_asked_exactly_what_was_sent_and_the_answer_is_a_run(
    shared: Service, client: AsyncOpenAI, talker: Talker
) -> None:
    talker.reply = lambda model, request: "Well said."
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "kind."}]},
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "text", "text": "Three."}]},
    ]
    answer = await client.chat.completions.create(model="alias", messages=messages, temperature=0, max_completion_tokens=17)
    (call,) = talker.calls
    assert [(message.role, message.content) for message in call.request.messages] == [
        ("system", "Be brief.\n\nBe\nkind."),
        ("user", "One."),
        ("assistant", "Two."),
        ("user", "Three."),
    ]
    assert (call.request.temperature, call.request.max_tokens, call.model) == (0, 17, "scripted")
    assert answer.choices[0].message.content == "Well said."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "scripted", "an alias is not passed off as the model"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 2, 9)
    run = await shared.run(answer.id)
    assert run["status"] == "success"
    output = (await shared.client.get(run["output"])).json()
    assert output["output"] == [{"role": "assistant", "content": "Well said."}]


async def test_what_is_left_out_has_the_apis_defaults(client: AsyncOpenAI, talker: Talker) -> None:
    await client.chat.completions.create(model="scripted", messages=ASKED)
    request = talker.calls[0].request
    assert (request.temperature, request.max_tokens) == (1.0, 8192)
    assert [message.role for message in request.messages] == ["user"]
    await client.chat.completions.create(model="scripted", messages=ASKED, max_tokens=5)
    assert talker.calls[1].request.max_tokens == 5


async def test_tokens_come_while_the_model_still_talks(client: AsyncOpenAI, talker: Talker) -> None:
    go_on = asyncio.Event()
    talker.scripts = [["Hel", "lo, ", go_on, "world."]]
    stream = await client.chat.completions.create(
        model="scripted", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = aiter(stream)
    first = await anext(chunks)
    assert first.choices[0].delta.content
    assert "Hello, ".startswith(first.choices[0].delta.content)
    go_on.set()
    rest = [chunk async for chunk in chunks]
    said = [first, *(chunk for chunk in rest if chunk.choices)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "Hello, world."
    assert (first.choices[0].delta.role, said[-1].choices[0].finish_reason) == ("assistant", "stop")
    assert {(chunk.id, chunk.model, chunk.object) for chunk in [first, *rest]} == {(first.id, "scripted", "chat.completion.chunk")}
    assert rest[-1].choices == []
    assert rest[-1].usage is not None
    assert (rest[-1].usage.prompt_tokens, rest[-1].usage.completion_tokens) == (7, 2)
    assert all(chunk.usage is None for chunk in rest[:-1])


async def test_without_the_option_a_stream_has_no_usage(client: AsyncOpenAI, talker: Talker) -> None:
    stream = await client.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "out(?,1)"


async def test_usage_that_a_provider_does_not_report_is_not_made_up(client: AsyncOpenAI, talker: Talker) -> None:
    talker.has_usage = False
    assert (await client.chat.completions.create(model="scripted", messages=ASKED)).usage is None
    stream = await client.chat.completions.create(
        model="scripted", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    last = [chunk async for chunk in stream][-1]
    assert (last.choices, last.usage) == ([], None)


@pytest.mark.parametrize(
    ("word", "reason"), [("length", "length"), ("max_tokens", "length"), ("refusal", "content_filter"), ("?", "stop")]
)
async def test_why_an_answer_ended_is_said_in_the_apis_words(client: AsyncOpenAI, talker: Talker, word: str, reason: str) -> None:
    talker.finish_reason = word
    assert (await client.chat.completions.create(model="scripted", messages=ASKED)).choices[0].finish_reason == reason


async def test_a_stream_goes_on_when_the_model_says_the_same_again(client: AsyncOpenAI, talker: Talker) -> None:
    seen = asyncio.Event()
    talker.scripts = [["Once upon ", seen, UnavailableError("truncated", "cut")], ["Once ", "upon a time."]]
    stream = await client.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        seen.set()
    assert text == "Once upon a time."
    assert len(talker.calls) == 2


async def test_a_stream_ends_with_an_error_when_the_model_says_something_else(client: AsyncOpenAI, talker: Talker) -> None:
    seen = asyncio.Event()
    talker.scripts = [["Once upon ", seen, UnavailableError("truncated", "cut")], ["Never."]]
    stream = await client.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    chunks = aiter(stream)
    await anext(chunks)
    seen.set()
    with pytest.raises(openai.APIError) as caught:
        await anext(chunks)
    assert caught.value.code == "stream_restarted"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_not_there_is_not_found(client: AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=ASKED, stream=stream)
    assert caught.value.code == "model_unavailable"
    assert "scripted" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-9")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_run_is_an_error_and_is_not_paid_for_again(client: AsyncOpenAI, talker: Talker, stream: bool) -> None:
    talker.failures["?"] = [InvalidError("bad_request", "the server says no")] * 9
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="scripted", messages=ASKED, stream=stream)
    assert caught.value.code == "run_error"
    assert "the server says no" in caught.value.message
    assert len(talker.calls) == 1, "a client repeats a 502 unless it is told that it is no use"


async def test_a_stranger_is_not_let_in(shared: Service) -> None:
    async with AsyncOpenAI(base_url=f"{shared.address}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="scripted", messages=ASKED)
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def test_a_full_queue_is_a_rate_limit(shared: Service, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.services.intake, "_at_most", 0)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.with_options(max_retries=0).chat.completions.create(model="scripted", messages=ASKED)
    assert caught.value.code == "queue_full"
    assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("sent", "code", "named"),
    [
        ({"n": 2}, "field_unsupported", "n"),
        ({"seed": 1}, "field_unsupported", "seed"),
        ({"response_format": {"type": "json_object"}}, "schema", "response_format.type"),
        ({"stop": ["x"]}, "field_unsupported", "stop"),
        ({"top_p": 0.5}, "field_unsupported", "top_p"),
        ({"user": "me"}, "field_unsupported", "user"),
        ({"logprobs": True}, "field_unsupported", "logprobs"),
        ({"extra_body": {"colour": "red"}}, "schema", "colour"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "schema", None),
        ({"stream_options": {"include_usage": True}}, "schema", None),
        ({"temperature": 3}, "schema", "temperature"),
        ({"messages": []}, "schema", "messages"),
        ({"messages": [*ASKED, {"role": "system", "content": "late"}]}, "schema", "messages[1].role"),
        ({"messages": [{"role": "assistant", "content": "I begin."}, *ASKED]}, "schema", "messages[0].role"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "I end."}]}, "schema", "messages[1].role"),
        ({"messages": [{"role": "system", "content": "Nothing else."}]}, "schema", "messages[0].role"),
        ({"messages": [{"role": "system", "content": ""}, *ASKED]}, "schema", "messages[0].content"),
        ({"messages": [{"role": "user", "content": ""}]}, "schema", "messages[0].content"),
        ({"messages": [{**ASKED[0], "name": "Ann"}]}, "field_unsupported", "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "schema", "messages[0].content[0]"),
    ],
)
async def test_what_is_not_done_is_refused_by_name_before_any_call(
    client: AsyncOpenAI, talker: Talker, sent: dict[str, Any], code: str, named: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**{"model": "scripted", "messages": ASKED, **sent})
    assert caught.value.code == code
    if named is not None:
        assert caught.value.param == named
    assert talker.calls == []


async def test_an_answer_keeps_to_its_schema_or_is_asked_for_once_more(client: AsyncOpenAI, talker: Talker) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    talker.scripts = [["no"], ['{"x": 1}']]
    answer = await client.chat.completions.create(model="scripted", messages=ASKED, response_format=wanted)
    assert answer.choices[0].message.content == '{"x": 1}'
    assert talker.calls[0].request.response_schema == schema
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 14, "both calls were paid for"
    talker.scripts = [["no"], ["no"]]
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="scripted", messages=ASKED, response_format=wanted)
    assert caught.value.code == "run_error"


async def test_what_asks_for_nothing_is_let_in(client: AsyncOpenAI) -> None:
    harmless: Any = {
        "n": 1,
        "top_p": 1,
        "frequency_penalty": 0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
    }
    assert (await client.chat.completions.create(model="scripted", messages=ASKED, **harmless)).choices


async def test_who_stops_reading_a_stream_cancels_its_run(shared: Service, client: AsyncOpenAI, talker: Talker) -> None:
    talker.scripts = [["Well, ", asyncio.Event()]]
    stream = await client.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    first = await anext(aiter(stream))
    await stream.close()
    await shared.ended(first.id)
    assert (await shared.client.get(f"/v1/runs/{first.id}/output")).json()["stopped"] == "cancelled"


async def test_a_run_goes_on_without_its_reader_where_that_is_wanted(shared: Service, client: AsyncOpenAI, talker: Talker) -> None:
    go_on = asyncio.Event()
    talker.scripts = [["Well, ", go_on, "well."]]
    stream = await client.chat.completions.create(
        model="scripted", messages=ASKED, stream=True, extra_query={"on_disconnect": "continue"}
    )
    first = await anext(aiter(stream))
    await stream.close()
    await asyncio.sleep(1.2)  # a reader who has gone is noticed within a second
    go_on.set()
    assert (await shared.ended(first.id))["status"] == "success"


async def test_a_stream_for_which_there_is_no_room_is_no_run(
    shared: Service, client: AsyncOpenAI, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Followers, "admit", full)
    with pytest.raises(openai.RateLimitError) as caught:
        await client.with_options(max_retries=0).chat.completions.create(model="scripted", messages=ASKED, stream=True)
    assert caught.value.code == "too_many_followers"
    assert talker.calls == []


def full(self: Followers) -> None:
    raise LimitError("too_many_followers", "no room")


async def test_the_same_key_is_the_same_run(client: AsyncOpenAI, talker: Talker) -> None:
    sent: Any = {"model": "scripted", "messages": ASKED, "extra_headers": {"Idempotency-Key": "of-a-chat"}}
    first, second = await client.chat.completions.create(**sent), await client.chat.completions.create(**sent)
    assert first.id == second.id
    assert len(talker.calls) == 1


async def test_models_are_listed_and_looked_up(client: AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert [(model.id, model.owned_by, model.object) for model in listed] == [
        ("scripted", "scripted", "model"),
        ("alias", "scripted", "model"),
    ]
    assert (await client.models.retrieve("scripted/scripted")).id == "scripted/scripted"
