"""The combined envelope and DSSE: what was signed is what is read, in one spelling only."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from orca_protocol import dsse
from orca_protocol.canonical import canonical
from orca_protocol.envelope import PAYLOAD_MAX_BYTES, open_envelope, seal
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.keys import public_key_of

KEY = SigningKey(bytes(range(32)))
SIGNER = public_key_of(KEY)
OTHER = SigningKey(bytes(range(1, 33)))

#: shared with the implementations in other languages
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "envelopes.json").read_text())["vectors"]
VECTOR = VECTORS[0]["combined"]


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_are_made_and_opened_alike(vector: dict[str, str]) -> None:
    key = SigningKey(bytes.fromhex(vector["seed"]))
    assert public_key_of(key) == vector["public_key"]
    assert base58.b58encode(bytes(key.sign(vector["payload"].encode()))).decode() == vector["combined"]
    assert open_envelope(vector["combined"], vector["public_key"]) == json.loads(vector["payload"])


def test_what_was_sealed_opens_for_its_signer_only() -> None:
    payload = {"taskId": "T", "action": "fetch-todo", "nonce": "ü"}
    sealed = seal(payload, KEY)
    assert open_envelope(sealed, SIGNER) == payload
    with pytest.raises(InvalidError, match="signature"):
        open_envelope(sealed, public_key_of(OTHER))


def sealed_bytes(payload: bytes) -> str:
    return base58.b58encode(bytes(KEY.sign(payload))).decode()


@pytest.mark.parametrize(
    ("sealed", "code"),
    [
        (base58.b58encode(KEY.sign(b"{}").signature).decode(), "envelope_malformed"),
        ("0OIl", "envelope_malformed"),
        ("", "envelope_malformed"),
        (" " + VECTOR, "envelope_malformed"),
        (sealed_bytes(b"[]"), "envelope_malformed"),
        (sealed_bytes(b'{"a":1,"a":2}'), "json_duplicate_key"),
        ("1" * 2 * PAYLOAD_MAX_BYTES, "envelope_oversize"),
    ],
)
def test_a_malformed_envelope_is_refused_with_its_reason(sealed: str, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        open_envelope(sealed, SIGNER)
    assert caught.value.code == code


@given(st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_of_an_envelope_is_refused(place: int, change: int) -> None:
    combined = bytearray(KEY.sign(canonical({"taskId": "T" * 100, "round": 7})))
    combined[place % len(combined)] ^= change
    with pytest.raises(OrcaError):
        open_envelope(base58.b58encode(bytes(combined)).decode(), SIGNER)


def test_pae_of_the_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_dsse_round_trip_and_its_one_signer() -> None:
    data = dsse.sign(b'{"a":1}', KEY)
    assert dsse.open_envelope(data, SIGNER, where="test") == b'{"a":1}'
    assert json.loads(data)["signatures"][0]["keyid"] == SIGNER
    with pytest.raises(InvalidError) as caught:
        dsse.open_envelope(data, public_key_of(OTHER), where="test")
    assert caught.value.code == "signer"


def changed(**fields: object) -> bytes:
    return canonical({**json.loads(dsse.sign(b'{"a":1}', KEY)), **fields})


SIGNATURE = json.loads(dsse.sign(b'{"a":1}', KEY))["signatures"][0]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (changed(payload=base64.b64encode(b'{"a":2}').decode()), "signature"),
        (changed(payload="eyJhIjoxfR=="), "base64"),  # a second spelling: unused bits set
        (changed(payload="eyJhIjoxfQ"), "base64"),
        (changed(payload="eyJhIjox\nfQ=="), "base64"),
        (changed(payloadType="text/plain"), "payload_type"),
        (changed(signatures=[]), "schema"),
        (changed(signatures=[SIGNATURE, SIGNATURE]), "schema"),
        (changed(signatures=[{**SIGNATURE, "sig": base64.b64encode(bytes(63)).decode()}]), "signature"),
        (changed(signatures=[{**SIGNATURE, "extra": 1}]), "schema"),
        (changed(comment="hello"), "schema"),
        (dsse.sign(b"{}", KEY) + b"\n", "not_canonical"),
    ],
)
def test_a_malformed_dsse_envelope_is_refused_with_its_reason(data: bytes, code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        dsse.open_envelope(data, SIGNER, where="test")
    assert caught.value.code == code


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_refused_by_our_own_error(data: bytes) -> None:
    with pytest.raises(OrcaError):
        dsse.open_envelope(data, SIGNER, where="test")
