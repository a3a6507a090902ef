"""Reading the shape of a model out of its file, the packaged one and any bytes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.gguf import Shape, read_shape
from orca_agent.models.llama import locate
from orca_agent.models.local import LOCAL_MODELS
from orca_protocol.errors import InvalidError
from tests.unit.orca_agent.models.ggufs import header
from tests.unit.orca_agent.models.test_local import NAME, missing

SMALL: dict[str, Any] = {"layers": 2, "heads": 4, "kv_heads": 2, "embedding": 32, "context": 64}


def shape(data: bytes) -> Shape:
    return read_shape(io.BytesIO(data))


@pytest.mark.local_model
@pytest.mark.skipif(bool(missing()), reason=missing() or "installed")
def test_the_packaged_model_has_the_shape_that_its_makers_publish() -> None:
    """SmolLM2-135M's config.json: 30 layers, 9 heads of 64, of which 3 for keys and values; 8192 tokens."""
    with locate(LOCAL_MODELS[NAME]).open("rb") as file:
        found = read_shape(file)
    assert found == Shape("llama", 30, (3,) * 30, 64, 64, 8192)
    assert found.cache_bytes(1) == 2 * 30 * 3 * 64 * 2
    assert found.cache_bytes(LOCAL_MODELS[NAME].context) == 188_743_680


def test_values_that_do_not_matter_are_passed_over() -> None:
    more: dict[str, Any] = {
        "general.name": "x",
        "tokenizer.tokens": ["a"] * 5000,
        "t.rope": 0.5,
        "tokenizer.types": list(range(5000)),
    }
    assert shape(header(**SMALL, **more)) == Shape("t", 2, (2, 2), 8, 8, 64)


def test_layers_may_differ_and_heads_may_have_a_length_of_their_own() -> None:
    fields: dict[str, Any] = {**SMALL, "kv_heads": [1, 3], "t.attention.key_length": 16, "t.attention.value_length": 4}
    found = shape(header(**fields))
    assert found == Shape("t", 2, (1, 3), 16, 4, 64)
    assert found.cache_bytes(10) == 10 * 4 * 20 * 2


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 256), st.integers(1, 200_000))
def test_the_cache_grows_with_each_of_its_dimensions(layers: int, heads: int, size: int, context: int) -> None:
    found = shape(header(layers=layers, heads=heads, kv_heads=heads, embedding=heads * size, context=context))
    assert found.cache_bytes(context) == context * layers * 2 * heads * size * 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGML" + bytes(20),
        b"GGUF\x09\0\0\0" + bytes(16),
        b"GGUF\x03\0\0\0" + bytes(8) + b"\xff" * 8,
        header(**SMALL)[:-1],
        header(**{**SMALL, "layers": 0}),
        header(**{**SMALL, "heads": 0}),
        header(**{**SMALL, "kv_heads": [1]}),
        header(**SMALL, **{"t.attention.key_length": 2**31}),
        header(**SMALL).replace(b"general.architecture", b"general.architectura"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidError, match="bad_gguf"):
        shape(data)


@given(st.binary(max_size=80), st.integers(0, 300), st.integers(0, 255))
def test_any_bytes_are_a_shape_or_one_refusal(tail: bytes, place: int, byte: int) -> None:
    data = bytearray(header(**SMALL))
    data[min(place, len(data) - 1)] = byte
    for candidate in (bytes(data), b"GGUF\x03\0\0\0" + tail):
        try:
            shape(candidate)
        except InvalidError as error:
            assert error.code == "bad_gguf"
