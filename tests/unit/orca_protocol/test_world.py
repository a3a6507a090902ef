"""What is asked of the world beside models, and what is told: digests that are their own, and entries of the right kind."""

from __future__ import annotations

from typing import Any

import pytest

from orca_protocol.canonical import digest_of
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, Path, entry_for, journal_bytes, read_journal
from orca_protocol.model import Answer, Message, ModelIdentity, ModelRequest, ToolDefinition
from orca_protocol.world import (
    IMAGE_MAX_BYTES,
    RESULT_MAX_BYTES,
    FetchedImage,
    ImageRequest,
    Input,
    InputRequest,
    Offer,
    OfferRequest,
    ToolRequest,
    ToolResult,
    model_request,
)

SCHEMA = {"type": "object", "properties": {"a": {"default": None}}}
PAIRS: list[tuple[Any, Any]] = [
    (OfferRequest(source="files"), Offer(tools=(ToolDefinition(name="read", parameters=SCHEMA),))),
    (ToolRequest(source="files", tool="read", arguments="{}"), ToolResult.of("text", is_error=True)),
    (ImageRequest(url="https://example.org/a.png"), FetchedImage.of("image/png", b"\x89PNG")),
    (InputRequest(messages=(Message(role="user", content="T"),)), Input(content="go on")),
]
ANSWER = Answer(content="x", finish_reason="stop", model=ModelIdentity(provider="p", model="m"))


def entry(request: Any, outcome: Any) -> Entry:
    return entry_for(Path(1, 0, 0, 0, 1), "A", request, digest_of(request.document()), outcome)


@pytest.mark.parametrize(("request_", "outcome"), PAIRS)
def test_an_entry_of_each_kind_comes_back_from_its_bytes(request_: Any, outcome: Any) -> None:
    made = entry(request_, outcome)
    (read,) = read_journal(journal_bytes([made]))
    assert read == made
    assert (read.request, read.outcome) == (request_, outcome)
    assert write(read) == write(made)


@pytest.mark.parametrize(("request_", "outcome"), PAIRS)
def test_what_was_asked_is_answered_in_kind(request_: Any, outcome: Any) -> None:
    with pytest.raises(ValueError, match="is answered by"):
        entry(request_, ANSWER)
    call = ModelRequest(model="m", messages=(), max_tokens=1, temperature=0.0, seed=0)
    with pytest.raises(ValueError, match="is answered by 'answer'"):
        entry(call, outcome)
    with pytest.raises(RuntimeError, match="a model call was expected"):
        model_request(request_)


def test_nulls_within_a_schema_are_kept() -> None:
    assert b'"default":null' in write(entry(*PAIRS[0]))


@pytest.mark.parametrize(
    ("field", "value"), [("content", "other"), ("digest", "0" * 64), ("content", "x" * (RESULT_MAX_BYTES + 1))]
)
def test_a_result_with_another_digest_or_too_long_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"digest|at most"):
        ToolResult(**{**ToolResult.of("text").document(), field: value})


@pytest.mark.parametrize("data", ["AAAA", "not base64!"])
def test_an_image_with_another_digest_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"digest|base64"):
        FetchedImage(image=FetchedImage.of("image/gif", b"GIF").image, data=data)


def test_the_largest_image_fits_and_no_larger_one() -> None:
    assert FetchedImage.of("image/png", b"\0" * IMAGE_MAX_BYTES).bytes == b"\0" * IMAGE_MAX_BYTES
    with pytest.raises(ValueError, match="at most"):
        FetchedImage.of("image/png", b"\0" * (IMAGE_MAX_BYTES + 1))


def test_a_journal_with_an_unknown_question_is_refused() -> None:
    line = journal_bytes([entry(*PAIRS[3])]).replace(b'"asks":"input"', b'"asks":"oracle"')
    with pytest.raises(InvalidError):
        read_journal(line)
