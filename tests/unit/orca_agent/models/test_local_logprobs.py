"""The log probabilities of the embedded model's answers, with its real weights where they are installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orca_agent.models.llama import Decoded
from orca_agent.models.local import LocalProvider, _answer
from orca_agent.models.redecode import LocalRedecoder
from orca_protocol.canonical import canonical
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, TokenLogprob, Usage
from tests.unit.orca_agent.models.requests import asked
from tests.unit.orca_agent.models.test_local import NAME, weighty

RIVER = asked(task="Write a story about a river.", max_tokens=16, seed=11, logprobs=True)
#: a model that is held to this has to write each of the animals in several tokens
FOXES = asked(task="Which?", max_tokens=24, temperature=0.0, response_schema={"enum": ["🦊🐍é"]}, logprobs=True)

#: and to this, has one way to write it
YES = asked(task="x", temperature=0.0, response_schema={"enum": ["yes"]}, logprobs=True)


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    provider = LocalProvider()
    yield provider
    asyncio.run(provider.close())


def said(answer: Answer) -> tuple[TokenLogprob, ...]:
    assert answer.logprobs is not None
    return answer.logprobs


@weighty
async def test_each_token_of_an_answer_has_its_log_probability_where_an_agent_wants_them(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, RIVER, None)
    assert len(said(answer)) == len(answer.tokens or ()) == 16
    assert "".join(one.token for one in said(answer)) == answer.content
    assert all(-30 < float(one.logprob) <= 0 for one in said(answer))
    assert len({one.logprob for one in said(answer)}) > 8


@weighty
async def test_asking_for_them_changes_nothing_else_and_who_does_not_gets_none(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, RIVER, None)
    without = await provider.complete(NAME, RIVER.model_copy(update={"logprobs": None}), None)
    assert without.logprobs is None
    assert without == answer.model_copy(update={"logprobs": None})


@weighty
@pytest.mark.parametrize("request_", [RIVER, FOXES], ids=["sampled", "held to a schema"])
async def test_they_come_out_again_from_the_journals_request(provider: LocalProvider, request_: ModelRequest) -> None:
    answer = await provider.complete(NAME, request_, None)
    await provider.complete(NAME, asked(task="Something else in between.", max_tokens=4), None)
    journaled = ModelRequest.model_validate_json(canonical(request_.document()))
    again = await LocalRedecoder(provider).decode(journaled, NAME)
    assert said(again) == said(answer)
    assert Answer.model_validate_json(canonical(answer.document())) == again


@weighty
async def test_they_are_the_models_own_before_temperature_and_grammar(provider: LocalProvider) -> None:
    """What a grammar leaves no choice about has a probability of 1 after it, and the model's own before."""
    held = [await provider.complete(NAME, YES.model_copy(update={"temperature": temperature}), None) for temperature in (0.0, 2.0)]
    assert [one.token for one in said(held[0])] == ['"', "yes", '"']
    assert float(said(held[0])[1].logprob) < -1
    assert said(held[1]) == said(held[0])


@weighty
async def test_a_character_of_several_tokens_stands_whole_beside_its_last_token(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, FOXES, None)
    assert answer.content == '"🦊🐍é"'
    assert [one.token for one in said(answer)] == ['"', "🦊", "🐍", "é", '"']
    assert answer.usage is not None
    assert len(said(answer)) == len(answer.tokens or ()) < answer.usage.output_tokens - 1


@weighty
async def test_the_end_of_the_turn_is_counted_and_has_no_log_probability(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, YES, None)
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.output_tokens == len(said(answer)) + 1


def test_an_answer_that_the_model_ended_at_once_has_none() -> None:
    decoded = Decoded("", (), (), (), "stop", Usage(input_tokens=9, output_tokens=1))
    answer = _answer(decoded, ModelIdentity(provider="local", model=NAME), wants_logprobs=True)
    assert answer.logprobs is None


def test_a_probability_of_0_is_said_as_openai_says_it() -> None:
    """llama.cpp has no logarithm of 0, and writes the lowest float that there is."""
    decoded = Decoded(
        "x", ("x",), (7,), (((7, -3.4028234663852886e38), (8, -0.5)),), "stop", Usage(input_tokens=9, output_tokens=2)
    )
    answer = _answer(decoded, ModelIdentity(provider="local", model=NAME), wants_logprobs=True)
    assert answer.logprobs == (TokenLogprob(token="x", logprob="-9999"),)
