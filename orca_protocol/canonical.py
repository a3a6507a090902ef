"""Canonical JSON (RFC 8785) out, strict JSON (RFC 8259 with the limits of I-JSON, RFC 7493) in.

Two nodes agree on a document only if they agree on its bytes. ``canonical`` makes those bytes; ``parse_json`` refuses
whatever two parsers could read differently: duplicate keys, non-finite numbers, integers beyond 2^53-1, lone
surrogates, a byte order mark, and nesting deep enough to be an attack.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NoReturn

import rfc8785

from orca_protocol.errors import InvalidError

MAX_DEPTH = 64
MAX_SAFE_INTEGER = 2**53 - 1

#: digits with a fraction that is not zero: what Python and ECMAScript write alike
_NO_EXPONENT = re.compile(r"-?[0-9]+\.[0-9]*[1-9]")

# Strings go whole, so that brackets inside them do not count as nesting.
_STRINGS = re.compile(rb'"[^"]*+"?')
_ALL_BUT_BRACKETS_AND_QUOTES = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def canonical(document: Any) -> bytes:
    """Return the RFC 8785 bytes of ``document`` (dicts with string keys, lists, str, int, float, bool, None).

    Raises InvalidError ``not_canonical`` for what JSON cannot carry exactly: NaN, integers beyond 2^53-1, lone surrogates.
    """
    try:
        if _is_plain(document):
            return _encode(document).encode()
        return rfc8785.dumps(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidError("not_canonical", f"this value has no canonical JSON form: {error}") from error


#: the standard library's encoder, in C: the same bytes as RFC 8785 for plain values, several times faster
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _is_plain(value: Any) -> bool:
    """Whether the standard encoder writes ``value`` as RFC 8785 does: ASCII keys sort alike, and repr(float) has no exponent."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER)
    if kind is dict:
        for key, member in value.items():
            if type(key) is not str or not key.isascii() or not (type(member) is str or _is_plain(member)):
                return False
        return True
    if kind is list:
        return all(map(_is_plain, value))
    return kind is float and _NO_EXPONENT.fullmatch(repr(value)) is not None


def sha256_hex(data: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def digest_of(document: Any) -> str:
    """Return the SHA-256 (hex) of the canonical bytes of ``document``."""
    return sha256_hex(canonical(document))


def parse_json(data: bytes, *, max_bytes: int, where: str, max_depth: int = MAX_DEPTH, max_integer: int = MAX_SAFE_INTEGER) -> Any:
    """Parse untrusted bytes strictly; ``where`` names the document in errors.

    ``max_integer`` may be raised for documents that are not ours, such as a chain's, whose integers are 64 bits wide.

    Raises InvalidError with code ``json_oversize``, ``json_too_deep``, ``json_duplicate_key``, ``json_number``,
    ``json_surrogate`` or ``json_malformed``.
    """
    if len(data) > max_bytes:
        raise InvalidError("json_oversize", f"{where} has {len(data)} bytes; at most {max_bytes} are read")
    _refuse_deep_nesting(data, max_depth, where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidError("json_malformed", f"{where} is not UTF-8 at byte {error.start}") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, where),
            parse_constant=lambda name: _refuse_number(name, where),
            parse_int=lambda digits: _integer(digits, where, max_integer),
            parse_float=lambda digits: _float(digits, where),
        )
    except json.JSONDecodeError as error:
        raise InvalidError(
            "json_malformed", f"{where} is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    if "\\u" in text:  # raw surrogates cannot survive the UTF-8 decoding above; escaped ones can
        _refuse_surrogates(document, where)
    return document


def parse_canonical(data: bytes, *, max_bytes: int, where: str) -> Any:
    """Parse strictly and require that the bytes are the canonical ones: one document, one spelling.

    Raises InvalidError as ``parse_json`` does, or ``not_canonical``.
    """
    document = parse_json(data, max_bytes=max_bytes, where=where)
    if canonical(document) != data:
        raise InvalidError("not_canonical", f"{where} is not in canonical form (RFC 8785)")
    return document


def _refuse_deep_nesting(data: bytes, max_depth: int, where: str) -> None:
    """Peel off innermost pairs, level by level: linear, in C and in little memory, however hostile the bytes."""
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRINGS.sub(b"", unescaped.translate(None, _ALL_BUT_BRACKETS_AND_QUOTES))
    for _ in range(max_depth):
        peeled = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if peeled == brackets:
            break  # nothing is left, or nothing matches any more
        brackets = peeled
    # One pair may still stand: it is either level 65, or brackets that never match, which the parser names better.
    if b"[]" in brackets or b"{}" in brackets or brackets.count(b"[") + brackets.count(b"{") > max_depth:
        raise InvalidError("json_too_deep", f"{where} is nested deeper than {max_depth} levels, or its brackets do not match")


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidError("json_duplicate_key", f"{where} has the key {key[:60]!r} twice in one object")
            seen.add(key)
    return members


def _refuse_number(name: str, where: str) -> NoReturn:
    raise InvalidError("json_number", f"{where} contains {name[:40]}, which is not a number that JSON can carry exactly")


def _integer(digits: str, where: str, largest: int) -> int:
    if len(digits) > len(str(largest)) + 1 or abs(int(digits)) > largest:
        _refuse_number(digits, where)
    return int(digits)


def _float(digits: str, where: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        _refuse_number(digits, where)
    return value


def _refuse_surrogates(value: Any, where: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidError("json_surrogate", f"{where} contains a lone surrogate") from error
    elif isinstance(value, dict):
        for key, member in value.items():
            _refuse_surrogates(key, where)
            _refuse_surrogates(member, where)
    elif isinstance(value, list):
        for member in value:
            _refuse_surrogates(member, where)
