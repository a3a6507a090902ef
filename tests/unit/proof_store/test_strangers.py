"""No bytes make a reader fall over: the targets of `make fuzz`, drawn by hypothesis, and sound examples with something changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

SEEDS = seeds()
each = pytest.mark.parametrize("name", TARGETS)


@st.composite
def changed(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """A sound example of which a part is cut out, put in, or replaced."""
    data = draw(st.sampled_from(sound))
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(st.binary(max_size=40)) + data[stop:]


@each
@given(data=st.binary(max_size=500))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@each
@given(data=st.data())
def test_almost_sound_bytes(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(changed(SEEDS[name])))


@each
def test_sound_bytes(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)
