"""The OpenAI wire format against a real server of the kind that operators run: llama.cpp's, with real weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from orca_agent.models.http import HttpClient
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_protocol.errors import InvalidError
from orca_protocol.model import ToolDefinition
from tests.fakes.llama_server import ALIAS, llama_server
from tests.unit.orca_agent.models.requests import asked
from tests.unit.orca_agent.models.test_local import missing

pytestmark = [pytest.mark.local_model, pytest.mark.skipif(bool(missing()), reason=missing() or "installed")]

KEY = "sk-of-the-llama-server"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server(KEY) as found:
        yield found


@pytest.fixture
def llama(url: str, http: HttpClient) -> OpenAIProvider:
    return OpenAIProvider(OpenAISettings(base_url=url, api_key=SecretStr(KEY), name="llama"), http)


async def test_it_lists_its_model_with_the_context(llama: OpenAIProvider) -> None:
    assert ALIAS in await llama.models()
    found = llama.facts(ALIAS)
    assert (found.context, found.inputs) == (256, ("text",))  # a slot has half of its context


async def test_whole_and_streamed_answers_are_the_same(llama: OpenAIProvider) -> None:
    request = asked(task="Name a colour.", max_tokens=12, temperature=0.0)
    pieces: list[str] = []
    whole, streamed = await asyncio.gather(llama.complete(ALIAS, request, None), llama.complete(ALIAS, request, pieces.append))
    assert whole.content == streamed.content == "".join(pieces)
    assert whole.usage is not None
    assert whole.usage == streamed.usage
    assert whole.usage.output_tokens <= 12
    assert len(pieces) > 1


async def test_fields_of_the_request_are_obeyed(llama: OpenAIProvider) -> None:
    short = await llama.complete(ALIAS, asked(task="Tell a long story.", max_tokens=3), None)
    assert short.finish_reason == "length"
    assert short.usage is not None
    assert short.usage.output_tokens == 3
    story = asked(task="Tell a story.", max_tokens=12, temperature=1.5, seed=5)
    said = [
        (await llama.complete(ALIAS, request, None)).content for request in (story, story, story.model_copy(update={"seed": 6}))
    ]
    assert said[0] == said[1] != said[2]


async def test_a_schema_is_held_to(llama: OpenAIProvider) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    answer = await llama.complete(ALIAS, asked(task="A number?", max_tokens=60, temperature=0.0, response_schema=schema), None)
    assert set(json.loads(answer.content)) == {"n"}


async def test_tools_can_be_offered(llama: OpenAIProvider) -> None:
    """The model is too small to call one; that the server takes the offer, and the answer is read, is what counts here."""
    answer = await llama.complete(ALIAS, asked(tools=(ToolDefinition(name="files.read"),), max_tokens=8), None)
    assert answer.content or answer.tool_calls


async def test_what_it_refuses_is_named(llama: OpenAIProvider, url: str, http: HttpClient) -> None:
    with pytest.raises(InvalidError, match=r"bad_request.*context"):
        await llama.complete(ALIAS, asked(task="word " * 2000), None)
    stranger = OpenAIProvider(OpenAISettings(base_url=url, api_key=SecretStr("sk-of-somebody-else")), http)
    with pytest.raises(InvalidError, match="unauthorised"):
        await stranger.complete(ALIAS, asked(), None)
