from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.base import Caps
from orca_agent.models.sse import Event, SseReader
from orca_protocol.errors import LimitError, OrcaError, UnavailableError


def read(data: bytes, cuts: list[int] | None = None, caps: Caps | None = None) -> list[Event]:
    reader = SseReader(caps or Caps())
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    return [event for start, end in pairwise(bounds) for event in reader.feed(data[start:end])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    stream = end.join(["data: one", "", ": a comment", "event: named", "data: two", "data:three", "", "x"])
    assert read(stream.encode()) == [Event("message", "one"), Event("named", "two\nthree")]


def test_an_unfinished_event_is_discarded() -> None:
    assert read(b"data: whole\n\ndata: half\n") == [Event("message", "whole")]


def test_only_one_blank_is_taken_off_and_empty_events_are_none() -> None:
    assert read(b"data:  x\n\nevent: lonely\n\ndata\n\n") == [Event("message", " x"), Event("message", "")]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read("\ufeffdata: x\n\n".encode()) == [Event("message", "x")]


texts = st.lists(
    st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=5
)


@given(texts, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 10_000), max_size=8))
def test_chunk_boundaries_do_not_matter(said: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f": beat{end}data: {text}{end}{end}" for text in said).encode()
    assert read(stream, cuts) == [Event("message", text) for text in said]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_give_events_or_one_family_of_errors(data: bytes, cuts: list[int]) -> None:
    caps = Caps(event_bytes=40, stream_bytes=300)
    try:
        events = read(data, cuts, caps)
    except OrcaError:
        return
    assert all(len(event.data.encode()) <= 40 for event in events)


@pytest.mark.parametrize("cut", [(b"\r", b"\n"), (b"\r", b"", b"\n"), (b"\r\n",), (b"\r",)])
def test_a_line_end_between_chunks_is_one(cut: tuple[bytes, ...]) -> None:
    reader = SseReader(Caps())
    chunks = (b"data: x", *cut, b"data: y", *cut, *cut)
    assert [event for chunk in chunks for event in reader.feed(chunk)] == [Event("message", "x\ny")]


def test_a_line_in_tiny_pieces_costs_what_its_bytes_cost() -> None:
    reader = SseReader(Caps())
    begun = time.process_time()
    reader.feed(b"data: " + b"x" * 500_000)
    for _ in range(20_000):  # copying the line each time is more than 10 GB: seconds, against milliseconds
        reader.feed(b"x")
    (event,) = reader.feed(b"\n\n")
    assert len(event.data) == 520_000
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize("data", [b"data: " + b"x" * 100, b"data: " + b"x" * 100 + b"\n\n", b"data: xxxxxxxxx\n" * 10])
def test_a_long_event_is_cut_off(data: bytes) -> None:
    with pytest.raises(LimitError, match="event_too_large"):
        read(data, caps=Caps(event_bytes=64))


def test_a_long_stream_is_cut_off() -> None:
    with pytest.raises(LimitError, match="stream_too_large"):
        read(b":\n" * 100, caps=Caps(stream_bytes=100))


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(UnavailableError, match="malformed_stream"):
        read(b"data: \xff\n\n")
