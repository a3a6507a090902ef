"""DSSE (secure-systems-lab/dsse v1.0.2): the signature envelope of statements, leases and verdicts.

What is signed is PAE(payload type, payload): "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body. One Ed25519 signature,
whose keyid is the signer's base58 public key. Base64 is the standard alphabet with padding and nothing else: a second
spelling of the same bytes is refused. Verify first, then parse the very bytes that were verified.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from nacl.signing import SigningKey
from pydantic import Field

from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError
from orca_protocol.keys import SIGNATURE_BYTES, public_key_of, verify
from orca_protocol.model import Strict

IN_TOTO = "application/vnd.in-toto+json"
ENVELOPE_MAX_BYTES = 4 * 1024 * 1024


class DsseSignature(Strict):
    """One signature; ``keyid`` is only a claim until it was verified."""

    keyid: str
    sig: str


class DsseEnvelope(Strict):
    """The JSON form of an envelope. The protocol has exactly one signer per document."""

    payloadType: str  # noqa: N815 - the name in the specification
    payload: str
    signatures: Annotated[tuple[DsseSignature, ...], Field(min_length=1, max_length=1)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding, DSSE protocol.md."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, key: SigningKey, *, payload_type: str = IN_TOTO) -> bytes:
    """Return the canonical bytes of the envelope of ``payload``."""
    signature = key.sign(pae(payload_type, payload)).signature
    return write(
        DsseEnvelope(
            payloadType=payload_type,
            payload=base64.b64encode(payload).decode(),
            signatures=(DsseSignature(keyid=public_key_of(key), sig=base64.b64encode(signature).decode()),),
        )
    )


def read_envelope(data: bytes, *, where: str) -> DsseEnvelope:
    """Parse an envelope without believing anything in it."""
    return read(DsseEnvelope, data, max_bytes=ENVELOPE_MAX_BYTES, where=where, canonical_only=True)


def open_envelope(data: bytes, signer: str, *, where: str, payload_type: str = IN_TOTO) -> bytes:
    """Return the payload that ``signer`` (base58) signed.

    Raises InvalidError ``payload_type``, ``signer`` (the envelope claims another key), ``base64``, ``signature``, or a
    code of ``documents.read``.
    """
    envelope = read_envelope(data, where=where)
    if envelope.payloadType != payload_type:
        raise InvalidError("payload_type", f"{where}: payload type {envelope.payloadType[:80]!r} instead of {payload_type!r}")
    claim = envelope.signatures[0]
    if claim.keyid != signer:
        raise InvalidError("signer", f"{where}: signed as {claim.keyid[:60]!r}, expected {signer}")
    payload = payload_of(envelope, where=where)
    signature = decode_base64(claim.sig, where=f"{where}: signature")
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidError("signature", f"{where}: the signature has {len(signature)} bytes instead of {SIGNATURE_BYTES}")
    verify(signer, pae(payload_type, payload), signature, where=where)
    return payload


def payload_of(envelope: DsseEnvelope, *, where: str) -> bytes:
    """Return the payload's bytes, unverified."""
    return decode_base64(envelope.payload, where=f"{where}: payload")


def decode_base64(text: str, *, where: str) -> bytes:
    """Decode strict base64: standard alphabet, padded, and the only spelling of its bytes. Raises InvalidError ``base64``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("base64", f"{where} is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise InvalidError("base64", f"{where} is not the canonical base64 of its bytes")
    return data
