"""The combined envelope of Koii's middle servers: base58(Ed25519 signature ‖ payload bytes), and who signed it.

Only the combined form exists here: no meaningful field stands outside the payload. The payload is the
sender's own JSON text; what was verified is what is parsed.
"""

from __future__ import annotations

from typing import Any

import base58
from nacl.signing import SigningKey

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError
from orca_protocol.keys import SIGNATURE_BYTES, verify

PAYLOAD_MAX_BYTES = 16 * 1024


def seal(payload: dict[str, Any], key: SigningKey) -> str:
    """Return the base58 envelope of ``payload``'s canonical bytes."""
    return base58.b58encode(bytes(key.sign(canonical(payload)))).decode()


def open_envelope(sealed: str, public_key: str, *, where: str = "envelope") -> dict[str, Any]:
    """Return the payload that ``public_key`` signed.

    Raises InvalidError ``envelope_oversize``, ``envelope_malformed``, ``signature``, or a code of ``parse_json``.
    """
    # base58 costs quadratic time, so the length is bounded before it is decoded
    if len(sealed) > 1.4 * (PAYLOAD_MAX_BYTES + SIGNATURE_BYTES):
        raise InvalidError(
            "envelope_oversize", f"{where} has {len(sealed)} characters; its payload may have {PAYLOAD_MAX_BYTES} bytes"
        )
    try:
        combined = base58.b58decode(sealed)
    except ValueError as error:
        raise InvalidError("envelope_malformed", f"{where} is not base58") from error
    if base58.b58encode(combined).decode() != sealed:
        raise InvalidError("envelope_malformed", f"{where} is not the base58 form of its bytes")
    if len(combined) <= SIGNATURE_BYTES:
        raise InvalidError(
            "envelope_malformed", f"{where} holds no payload: this must be the combined form, signature and payload in one"
        )
    signature, payload = combined[:SIGNATURE_BYTES], combined[SIGNATURE_BYTES:]
    verify(public_key, payload, signature, where=where)
    document = parse_json(payload, max_bytes=PAYLOAD_MAX_BYTES, where=f"{where} payload")
    if not isinstance(document, dict):
        raise InvalidError("envelope_malformed", f"{where}: the payload is not a JSON object")
    return document
