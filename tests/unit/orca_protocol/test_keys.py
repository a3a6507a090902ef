"""Ed25519 keys: base58, Solana JSON, strictness against keys that prove nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from orca_protocol.errors import InvalidError
from orca_protocol.keys import (
    DEVNET_KEYS,
    decode_base58,
    devnet_key,
    is_devnet_key,
    public_key_of,
    secret_from_json,
    secret_to_json,
    verify,
)

KEY = SigningKey(bytes(range(32)))


def test_public_key_of_the_published_vector() -> None:
    assert public_key_of(KEY) == "FAe4sisG95oZ42w7buUn5qEE4TAnfTTFPiguZUHmhiF"


def test_a_signature_verifies_and_any_change_refuses_it() -> None:
    signature = KEY.sign(b"message").signature
    verify(public_key_of(KEY), b"message", signature, where="test")
    for message, other in [(b"massage", signature), (b"message", signature[:-1]), (b"message", bytes(64))]:
        with pytest.raises(InvalidError, match="signature"):
            verify(public_key_of(KEY), message, other, where="test")


def test_a_small_order_key_signs_nothing() -> None:
    """The identity point with R = identity and S = 0 satisfies the bare equation for every message."""
    identity = b"\x01" + bytes(31)
    with pytest.raises(InvalidError, match="signature"):
        verify(base58_of(identity), b"any message", identity + bytes(32), where="test")


def test_a_malleated_signature_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(b"message").signature
    moved = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(InvalidError, match="signature"):
        verify(public_key_of(KEY), b"message", signature[:32] + moved, where="test")


def test_secret_round_trip_in_solanas_form() -> None:
    text = secret_to_json(KEY)
    assert json.loads(text) == [*range(32), *bytes(KEY.verify_key)]
    assert secret_from_json(text.encode(), where="test") == KEY


@pytest.mark.parametrize(
    "text", ["[]", "{}", "[1,2]", json.dumps([0] * 64), json.dumps([256] * 64), json.dumps([True] * 64), "[1.5]"]
)
def test_a_file_that_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        secret_from_json(text.encode(), where="id.json")
    assert caught.value.code == "key_malformed"
    assert "256" not in caught.value.detail


def test_devnet_keys_are_recognised_and_others_are_not() -> None:
    keys = {public_key_of(devnet_key(number)) for number in range(DEVNET_KEYS)}
    assert len(keys) == DEVNET_KEYS
    assert all(map(is_devnet_key, keys))
    assert not is_devnet_key(public_key_of(KEY))
    with pytest.raises(InvalidError):
        devnet_key(DEVNET_KEYS)


@given(st.text(max_size=100))
def test_any_text_is_32_bytes_of_base58_or_refused(text: str) -> None:
    try:
        assert base58_of(decode_base58(text, length=32, where="test")) == text
    except InvalidError as error:
        assert error.code == "base58"


def base58_of(data: bytes) -> str:
    import base58

    return base58.b58encode(data).decode()
