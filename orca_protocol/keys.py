"""Ed25519 keys as the project uses them: base58 public keys, Solana's 64-byte secrets, libsodium's strictness.

PyNaCl (libsodium) refuses small-order public keys and non-canonical signatures; other libraries accept them, so nothing
else verifies here. Devnet keys are derived from a public constant: anybody can sign with them, so they are recognised
and refused wherever a signature should mean something.
"""

from __future__ import annotations

import hashlib
from functools import cache

import base58
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from orca_protocol.canonical import parse_json
from orca_protocol.errors import InvalidError

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
DEVNET_KEYS = 64


def public_key_of(key: SigningKey) -> str:
    """Return the base58 public key."""
    return base58.b58encode(bytes(key.verify_key)).decode()


def decode_base58(text: str, *, length: int, where: str) -> bytes:
    """Return the bytes of ``text``, of exactly ``length``. Raises InvalidError ``base58``."""
    if len(text) > 2 * length:
        raise InvalidError("base58", f"{where} is too long for {length} bytes")
    try:
        data = base58.b58decode(text)
    except ValueError as error:
        raise InvalidError("base58", f"{where} is not base58") from error
    if len(data) != length or base58.b58encode(data).decode() != text:
        raise InvalidError("base58", f"{where} is not the base58 form of {length} bytes")
    return data


def verify(public_key: str, message: bytes, signature: bytes, *, where: str) -> None:
    """Raise InvalidError ``signature`` unless ``signature`` (64 bytes) is ``public_key``'s over ``message``."""
    raw = decode_base58(public_key, length=PUBLIC_KEY_BYTES, where=f"{where}: public key")
    try:
        VerifyKey(raw).verify(message, signature)
    except (BadSignatureError, CryptoError, ValueError) as error:
        raise InvalidError("signature", f"{where}: the signature is not {public_key}'s over these bytes") from error


def secret_to_json(key: SigningKey) -> str:
    """Return the key as Solana tools write it: a JSON array of 64 numbers, seed then public key."""
    return "[" + ",".join(str(byte) for byte in bytes(key) + bytes(key.verify_key)) + "]\n"


def secret_from_json(data: bytes, *, where: str) -> SigningKey:
    """Read what ``secret_to_json`` or Solana tools wrote. Raises InvalidError ``key_malformed``; never shows a byte of it."""
    try:
        numbers = parse_json(data, max_bytes=4096, where=where)
    except InvalidError:  # its detail may quote the file
        numbers = None
    is_bytes = isinstance(numbers, list) and all(type(number) is int and 0 <= number <= 255 for number in numbers)
    if not is_bytes or len(numbers) != 64:
        raise InvalidError("key_malformed", f"{where} must be a JSON array of 64 bytes, as solana-keygen writes it")
    key = SigningKey(bytes(numbers[:32]))
    if bytes(key.verify_key) != bytes(numbers[32:]):
        raise InvalidError("key_malformed", f"{where}: its public half does not belong to its secret half")
    return key


def devnet_key(number: int) -> SigningKey:
    """Return devnet key ``number`` (0 to 63). Everybody can compute it: it protects nothing."""
    if not 0 <= number < DEVNET_KEYS:
        raise InvalidError("devnet_key_number", f"there are {DEVNET_KEYS} devnet keys, numbered from 0; {number} is none of them")
    return SigningKey(hashlib.sha256(b"orca devnet key %d" % number).digest())


def is_devnet_key(public_key: str) -> bool:
    """Whether anybody can sign with ``public_key``."""
    return public_key in _devnet_public_keys()


@cache
def _devnet_public_keys() -> frozenset[str]:
    return frozenset(public_key_of(devnet_key(number)) for number in range(DEVNET_KEYS))
