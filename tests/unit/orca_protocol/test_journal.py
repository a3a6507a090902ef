"""Entries, paths and the journal's bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.canonical import canonical, digest_of
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.journal import Entry, Outcome, Path, Stop, entry_for, journal_bytes, journal_digest, read_journal
from orca_protocol.model import Answer, Attempt, Failure, Message, ModelIdentity, ModelRequest, Usage

REQUEST = ModelRequest(model="m", messages=(Message(role="user", content="Tä\u2028sk 😀"),), max_tokens=5, temperature=1.0, seed=7)
ANSWER = Answer(
    content="yes", finish_reason="stop", model=ModelIdentity(provider="p", model="m"), usage=Usage(input_tokens=1, output_tokens=2)
)


def entry(path: Path, outcome: Outcome = ANSWER, attempts: tuple[Attempt, ...] = ()) -> Entry:
    return entry_for(path, "A", REQUEST, digest_of(REQUEST.document()), outcome, attempts)


JOURNAL = [entry(Path(1, 0, 0)), entry(Path(1, 0, 1), Failure(code="c", detail="d")), entry(Path(1, 1, 0), Stop(reason="deadline"))]


def test_entries_survive_their_bytes_in_path_order() -> None:
    data = journal_bytes(reversed(JOURNAL))
    assert read_journal(data) == tuple(JOURNAL)
    assert data.count(b"\n") == 3


def test_paths_order_by_number_and_not_by_text() -> None:
    assert sorted([Path(10, 0, 0), Path(2, 0, 0), Path(2, 0, 0, 1)]) == [Path(2, 0, 0), Path(2, 0, 0, 1), Path(10, 0, 0)]


def test_digest_leaves_out_attempts_and_nothing_else() -> None:
    attempt = Attempt(started="2026-01-01T00:00:00.000Z", duration_ms=3, outcome="answer")
    assert journal_digest([entry(Path(1, 0, 0), attempts=(attempt,))]) == journal_digest([entry(Path(1, 0, 0))])
    other = ANSWER.model_copy(update={"content": "no"})
    assert journal_digest([entry(Path(1, 0, 0), other)]) != journal_digest([entry(Path(1, 0, 0))])


def line(**fields: Any) -> bytes:
    document = {**json.loads(journal_bytes(JOURNAL[:1])), **fields}
    return canonical({name: value for name, value in document.items() if value is not None}) + b"\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (journal_bytes(JOURNAL)[:-1], "journal_truncated"),
        (b"\n", "json_malformed"),
        (json.dumps(json.loads(line())).encode() + b"\n", "not_canonical"),
        (line(kind="error"), "schema"),
        (line(answer=None), "schema"),
        (line(stop="cancelled"), "schema"),
        (line(kind="stop", answer=None, stop="bored"), "schema"),
        (line(path=[1, 0, 0]), "schema"),
        (line(path=[1, 0, 0, 0, -1]), "schema"),
        (line(request_digest="0" * 63), "schema"),
        (line(extra=1), "schema"),
        (journal_bytes(JOURNAL[:1]).replace(b'"output_tokens":2', b'"output_tokens":9007199254740991'), "schema"),
    ],
)
def test_a_malformed_journal_is_refused_naming_the_line(data: bytes, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_journal(data)
    assert caught.value.code == code
    assert "journal.jsonl" in caught.value.detail


@given(st.binary(max_size=200), st.integers(0, 2))
def test_any_bytes_are_a_journal_or_refused_by_our_own_error(data: bytes, keep: int) -> None:
    try:
        read_journal(journal_bytes(JOURNAL[:keep]) + data)
    except OrcaError as error:
        assert error.detail
