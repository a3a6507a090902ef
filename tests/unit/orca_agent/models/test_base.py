from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_agent.models.base import Caps, Text, answer_text, error_for, excerpt, parse_retry_after
from orca_protocol.errors import InvalidError, LimitError, UnavailableError

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        ("Fri, 20 Nov 2026 12:01:30 GMT", 90.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2026 12:00:10 -0000", 10.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("soon", None),
        ("Fri, 20 Nov 99999999999999999999 12:00:00 GMT", None),
        ("Fri, 20 Nov 2026 12:00:00 +99999999999999999999", None),
        ("Fri, 20 Nov 2026 12:00:00 +9999", None),
        (f"Fri, 20 Nov {'9' * 5000} 12:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@given(st.text())
def test_retry_after_never_raises(header: str) -> None:
    wished = parse_retry_after(header, NOW)
    assert wished is None or wished >= 0


numbers = st.integers(0, 60) | st.integers()


@given(numbers, numbers, numbers, st.sampled_from(["", "GMT", "-0000"]) | numbers.map("{:+05d}".format))
def test_no_date_makes_retry_after_raise(day: int, year: int, minute: int, zone: str) -> None:
    wished = parse_retry_after(f"Fri, {day} Nov {year} 12:{minute}:00 {zone}", NOW)
    assert wished is None or wished >= 0


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529, 599])
def test_statuses_worth_another_try(status: int) -> None:
    error = error_for(status, "", "server", retry_after=3.0)
    assert isinstance(error, UnavailableError)
    assert error.retry_after == 3.0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (401, "unauthorised"),
        (402, "payment_required"),
        (403, "forbidden"),
        (404, "not_found"),
        (418, "model_refused"),
        (302, "redirect_refused"),
        (413, "request_too_large"),
    ],
)
def test_statuses_that_judge_the_request(status: int, code: str) -> None:
    error = error_for(status, "no", "server")
    assert isinstance(error, InvalidError)
    assert error.code == code


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefGHIJKL0123", "sk-ant-api03-x_y-z0123456789", "Bearer abcdefgh12345678", "sk-****************abcd", "a" * 64],
)
def test_an_excerpt_shows_no_key(secret: str) -> None:
    shown = excerpt(f"Incorrect API key provided: {secret}. Find yours in the dashboard.")
    assert secret not in shown
    assert "[struck out]" in shown
    assert "dashboard" in shown


@given(st.text(max_size=3000))
def test_an_excerpt_is_one_short_printable_line(text: str) -> None:
    shown = excerpt(text)
    assert len(shown) <= 300
    assert shown.isprintable()


def test_text_is_cut_off_at_its_cap_in_bytes() -> None:
    seen: list[str] = []
    text = Text(Caps(answer_bytes=5), seen.append)
    text.add("€")
    with pytest.raises(LimitError, match="answer_too_large"):
        text.add("€")
    assert seen == ["€"]


@pytest.mark.parametrize(
    ("content", "finish", "code"),
    [
        (None, "stop", "empty_answer"),
        (None, "length", "empty_answer"),
        ("", "length", "empty_answer"),
        ("", "stop", "empty_answer"),
        (" \n\t", "stop", "empty_answer"),
        ("\u00a0\u3000", "length", "empty_answer"),
        (None, "tool_calls", "empty_answer"),
        (None, "content_filter", "model_refused"),
        ("", "refusal", "model_refused"),
        ("half", "content_filter", "model_refused"),
        ("half", "refusal", "model_refused"),
    ],
)
def test_nothing_is_no_answer(content: str | None, finish: str, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        answer_text(content, finish, "server")
    assert caught.value.code == code


@pytest.mark.parametrize("content", [None, "", "half"])
def test_what_the_server_calls_an_error_is_none_of_the_model(content: str | None) -> None:
    with pytest.raises(UnavailableError, match="server_error"):
        answer_text(content, "error", "server")


@pytest.mark.parametrize(("content", "finish"), [(" spaced\n", "stop"), ("cut", "length"), ("said", "something_new")])
def test_what_counts_as_an_answer(content: str, finish: str) -> None:
    assert answer_text(content, finish, "server") == content
