"""Secrets are struck out of everything that is written down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orca_agent.observe.secrets import STRUCK, Secrets
from orca_protocol.model import Answer, Failure, ModelIdentity

SECRETS = Secrets([SecretStr("sk-very-secret-1"), SecretStr('odd"key\\with-escapes'), SecretStr("short")])


def test_a_secret_is_struck_out_of_any_field() -> None:
    answer = Answer(
        content="the key is sk-very-secret-1!",
        finish_reason="stop",
        model=ModelIdentity(provider="p", model='m odd"key\\with-escapes'),
    )
    clean = SECRETS.clean(answer)
    assert clean.content == f"the key is {STRUCK}!"
    assert clean.model.model == f"m {STRUCK}"


def test_what_holds_no_secret_is_returned_as_it_is() -> None:
    failure = Failure(code="c", detail="short and harmless")
    assert SECRETS.clean(failure) is failure
    assert Secrets().clean(failure) is failure


def test_secrets_are_found_in_bytes_plainly_and_as_json() -> None:
    assert SECRETS.are_in(b'{"task": "use sk-very-secret-1"}')
    assert SECRETS.are_in(b'{"task": "odd\\"key\\\\with-escapes"}')
    assert not SECRETS.are_in(b'{"task": "short"}')


def test_text_and_repr_show_none() -> None:
    assert SECRETS.strike("a sk-very-secret-1 b") == f"a {STRUCK} b"
    assert "secret-1" not in repr(SECRETS)


@given(
    st.text(alphabet="sk-veryct1 x", max_size=40),
    st.text(alphabet="sk-veryct1 x", max_size=40),
    st.lists(st.integers(1, 7), max_size=30),
)
def test_a_secret_in_pieces_never_reaches_a_reader_and_nothing_else_is_lost(before: str, after: str, sizes: list[int]) -> None:
    text = f"{before}sk-very-secret-1{after}"
    seen: list[str] = []
    stream = SECRETS.stream(seen.append)
    for size in [*sizes, len(text)]:
        stream.add(text[:size])
        text = text[size:]
    stream.end()
    assert "".join(seen) == SECRETS.strike(f"{before}sk-very-secret-1{after}")
    assert "sk-very-secret-1" not in "".join(seen)


def test_what_was_held_back_is_forgotten_when_the_text_is_void() -> None:
    seen: list[str] = []
    stream = SECRETS.stream(seen.append)
    stream.add("hello sk-very")
    stream.drop()
    stream.end()
    assert seen == ["hello "]
