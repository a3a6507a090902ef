"""Secrets are struck out of everything that is written down."""

from __future__ import annotations

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
