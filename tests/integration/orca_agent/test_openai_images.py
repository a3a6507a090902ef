"""Images of the OpenAI API by its own client: one, beside what the user says last, fetched once and journaled."""

from __future__ import annotations

import base64
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from orca_protocol.canonical import sha256_hex
from orca_protocol.model import ToolCall
from orca_protocol.spec import IMAGE_URL_MAX
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def image(url: str = URI, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def text(said: str = "What is this?") -> dict[str, Any]:
    return {"type": "text", "text": said}


def user(*parts: dict[str, Any]) -> Any:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_image_is_shown_with_what_the_user_said_and_stands_in_the_journal(
    shared: Service, client: AsyncOpenAI, talker: Talker, stream: bool
) -> None:
    messages: Any = [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello."},
        user(text(), image(detail="auto")),
    ]
    made: Any = await client.chat.completions.create(model="scripted", messages=messages, stream=stream)
    run = {chunk.id async for chunk in made}.pop() if stream else made.id
    (call,) = talker.calls
    shown = [(message.content, [picture.digest for picture in message.images or ()]) for message in call.request.messages]
    assert shown == [("Look.", []), ("Hello.", []), ("Hello.", []), ("What is this?", [sha256_hex(PNG)])]
    assert talker.images == [{sha256_hex(PNG): PNG}]
    events = await shared.follow(run)
    asked = [event.data for event in events if event.kind == "call_finished" and event.data["outcome"] == "image"]
    assert [(event["media_type"], event["digest"]) for event in asked] == [("image/png", sha256_hex(PNG))]


async def test_an_image_stays_with_the_question_when_a_tool_has_returned(client: AsyncOpenAI, talker: Talker) -> None:
    talker.tool_calls["?"] = [(ToolCall(id="c1", name="look", arguments="{}"),)]
    asked, tools = user(image(), text()), [{"type": "function", "function": {"name": "look"}}]
    sent: Any = {"model": "scripted", "tools": tools}
    first = await client.chat.completions.create(messages=[asked], **sent)
    result: Any = {"role": "tool", "tool_call_id": "c1", "content": "A tree."}
    await client.chat.completions.create(messages=[asked, first.choices[0].message, result], **sent)
    shown = [(message.role, bool(message.images)) for message in talker.calls[-1].request.messages]
    assert shown == [("user", True), ("assistant", False), ("tool", False)]


async def test_what_is_not_on_the_open_internet_is_not_fetched_and_nobody_is_asked(client: AsyncOpenAI, talker: Talker) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="scripted", messages=[user(text(), image("http://127.0.0.1:1/a.png"))])
    assert caught.value.code == "run_error"
    assert "image_address" in caught.value.message
    assert talker.calls == []


@pytest.mark.parametrize(
    ("messages", "code", "named"),
    [
        ([user(text(), image(), image())], "field_unsupported", "messages[0].content[2]"),
        ([user(image(), text()), user(text())], "field_unsupported", "messages[0].content[0]"),
        ([user(text(), image(detail="high"))], "field_unsupported", "messages[0].content[1].image_url.detail"),
        ([user(text(), image(URI + "A" * IMAGE_URL_MAX))], "field_unsupported", "messages[0].content[1].image_url.url"),
        ([user(text(), image("file:///etc/passwd"))], "schema", "messages[0].content[1].image_url.url"),
        ([user(text(), image("data:text/plain;base64,AAAA"))], "schema", "messages[0].content[1].image_url.url"),
        ([user(image())], "schema", "messages[0].content"),
        ([{"role": "system", "content": [text(), image()]}, user(text())], "schema", "messages[0].content[1]"),
        ([user(text(), {"type": "image_url", "image_url": URI})], "schema", None),
        ([user(text(), {"type": "file", "file": {"file_id": "f"}})], "schema", "messages[0].content[1]"),
    ],
)
async def test_what_a_run_cannot_show_is_refused_by_name_before_any_call(
    client: AsyncOpenAI, talker: Talker, messages: Any, code: str, named: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="scripted", messages=messages)
    assert caught.value.code == code
    if named is not None:
        assert caught.value.param == named
    assert talker.calls == []
