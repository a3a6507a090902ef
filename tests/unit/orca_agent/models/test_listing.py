"""What OpenAI-compatible servers say of their models beside the names, each as it really spells it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.facts import ModelFacts, plain
from orca_agent.models.http import HttpClient
from orca_agent.models.listing import _facts, _Listed
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from tests.fakes.scripted_server import ScriptedServer

OPENROUTER = {
    "id": "x-ai/grok-4-fast",
    "canonical_slug": "x-ai/grok-4-fast",
    "name": "xAI: Grok 4 Fast",
    "context_length": 2_000_000,
    "architecture": {
        "modality": "text+image->text",
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
        "tokenizer": "Grok",
    },
    "pricing": {
        "prompt": "0.0000002",
        "completion": "0.0000005",
        "request": "0",
        "image": "0",
        "web_search": "0",
        "internal_reasoning": "0",
    },
    "top_provider": {"context_length": 2_000_000, "max_completion_tokens": 30_000, "is_moderated": False},
}
VLLM = {
    "id": "Qwen/Qwen2.5-7B",
    "object": "model",
    "owned_by": "vllm",
    "root": "Qwen/Qwen2.5-7B",
    "parent": None,
    "max_model_len": 32_768,
}
LLAMA_CPP = {
    "id": "smol.gguf",
    "object": "model",
    "owned_by": "llamacpp",
    "meta": {"vocab_type": 2, "n_vocab": 49_152, "n_ctx_train": 8192, "n_embd": 576},
}
OLLAMA = {"id": "llama3.2:latest", "object": "model", "created": 1_730_000_000, "owned_by": "library"}


async def facts(server: ScriptedServer, http: HttpClient, entry: dict[str, Any]) -> ModelFacts:
    server.reset({"listing": {"object": "list", "data": [entry]}})
    provider = OpenAIProvider(OpenAISettings(base_url=server.openai), http)
    (name,) = await provider.models()
    return provider.facts(name)


async def test_openrouter_says_context_prices_and_what_is_read(server: ScriptedServer, http: HttpClient) -> None:
    found = await facts(server, http, OPENROUTER)
    assert (found.context, found.inputs, found.memory_bytes) == (2_000_000, ("text", "image"), 0)
    assert found.price is not None
    assert (plain(found.price.input), plain(found.price.output)) == ("0.2", "0.5")
    assert found.price.source == "the listing of 127.0.0.1"


@pytest.mark.parametrize(("entry", "context"), [(VLLM, 32_768), (LLAMA_CPP, 8192), (OLLAMA, None)])
async def test_others_say_less(server: ScriptedServer, http: HttpClient, entry: dict[str, Any], context: int | None) -> None:
    assert await facts(server, http, entry) == ModelFacts(context=context, memory_bytes=0)


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1", "completion": "-1"},
        {"prompt": "0.1"},
        {"prompt": 1, "completion": 1},
        [],
        "free",
        None,
        {"prompt": "0.000001", "completion": "0.000001", "request": "0.01"},
    ],
)
def test_a_price_that_is_not_plain_is_none(pricing: Any) -> None:
    assert _facts(_Listed.model_validate({**OPENROUTER, "pricing": pricing}), "x").price is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prompt", "completion", "n_ctx", "input_modalities", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("context_length", "max_model_len", "meta", "pricing", "architecture"), json_values)
    )
)
def test_nonsense_beside_a_name_leaves_the_name(said: dict[str, Any]) -> None:
    found = _facts(_Listed.model_validate({"id": "m", **said}), "x")
    assert found.context is None or found.context > 0
    found.document()


async def test_the_vendors_price_list_is_for_the_vendor_alone(server: ScriptedServer, http: HttpClient) -> None:
    assert (await facts(server, http, {"id": "gpt-4o"})).price is None
    assert OpenAIProvider(OpenAISettings(), http).facts("gpt-4o").price is not None
