"""Canonical JSON out, strict JSON in."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from orca_protocol.canonical import canonical, digest_of, parse_canonical, parse_json
from orca_protocol.errors import InvalidError, OrcaError

#: a larger float is written by RFC 8785 as an integer that I-JSON forbids; the protocol has none
FLOATS = st.floats(-(2.0**53) + 1, 2.0**53 - 1)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def parse(data: bytes) -> object:
    return parse_json(data, max_bytes=10_000, where="test")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], b"[333333333.3333333,1e+30,4.5,0.002,1e-27]"),
        ([-0.0], b"[0]"),
        (struct.unpack(">d", bytes.fromhex("444b1ae4d6e2ef50"))[0], b"1e+21"),
        (
            {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'.encode(),
        ),
        ('€$\x0f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()),
    ],
)
def test_vectors_of_rfc_8785(document: object, expected: bytes) -> None:
    assert canonical(document) == expected


@pytest.mark.parametrize("document", [float("nan"), float("inf"), 2**53, {"a": "\ud800"}, object()])
def test_what_json_cannot_carry_exactly_is_refused(document: object) -> None:
    with pytest.raises(InvalidError, match="not_canonical"):
        canonical(document)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":2}', "json_duplicate_key"),
        (b'{"x":[{"a":1,"b":2,"a":3}]}', "json_duplicate_key"),
        (b"[NaN]", "json_number"),
        (b"[-Infinity]", "json_number"),
        (b"[1e999]", "json_number"),
        (b"[9007199254740992]", "json_number"),
        (b"[" + b"9" * 5000 + b"]", "json_number"),
        (b'["\\ud800"]', "json_surrogate"),
        (b'{"\\udfff":1}', "json_surrogate"),
        (b"[" * 65 + b"]" * 65, "json_too_deep"),
        (b'{"a":' * 200, "json_too_deep"),
        (b"\xef\xbb\xbf1", "json_malformed"),
        (b"\xff", "json_malformed"),
        (b"[1,]", "json_malformed"),
        (b"", "json_malformed"),
        (b"1 2", "json_malformed"),
        (b'"' + b"x" * 10_000 + b'"', "json_oversize"),
    ],
)
def test_two_readers_could_differ_so_it_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse(data)
    assert caught.value.code == code
    assert "test" in caught.value.detail


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert parse(json.dumps(["[" * 500, '\\"[' * 100]).encode()) == ["[" * 500, '\\"[' * 100]


def test_sixty_four_levels_are_read() -> None:
    assert parse(b"[" * 64 + b"]" * 64)


@given(JSON_VALUES)
def test_canonical_bytes_survive_a_round_trip(document: object) -> None:
    data = canonical(document)
    again = parse_canonical(data, max_bytes=10**6, where="test")
    assert canonical(again) == data
    assert digest_of(again) == digest_of(document)


@settings(max_examples=500)
@given(JSON_VALUES)
def test_the_fast_encoder_writes_what_rfc_8785_writes(document: Any) -> None:
    assert canonical(document) == rfc8785.dumps(document)


@given(JSON_VALUES)
def test_another_spelling_is_not_canonical(document: object) -> None:
    loose = json.dumps([document], indent=1).encode()
    with pytest.raises(InvalidError):
        parse_canonical(loose, max_bytes=10**6, where="test")


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0dD8e+-.19 tfn', max_size=60).map(str.encode))
def test_any_bytes_parse_or_are_refused_by_our_own_error(data: bytes) -> None:
    try:
        parse(data)
    except OrcaError as error:
        assert error.code.startswith("json_")
