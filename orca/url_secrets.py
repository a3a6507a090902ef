"""The parts of a URL that may be keys: many servers are given theirs in the path or the query."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_plus, urlsplit

#: longer than words are that a path is made of
_KEY_LENGTH: Final = 16
#: what is shorter may be one if it has digits among letters
_SHORT_KEY_LENGTH: Final = 8
_NAMES: Final = ("key", "token", "secret", "pass", "auth", "sig")


def keys_in(url: str) -> set[str]:
    """Return what may be a key in the path and the query of ``url``, as it stands there and as it is meant.

    Short words are none: what is found here is struck out of every answer, and a spec that holds it is refused.
    """
    parts = urlsplit(url)
    found = {piece for piece in parts.path.split("/") if _may_be_key(piece)}
    for name, _, value in (pair.rpartition("=") for pair in parts.query.split("&")):
        is_called_one = any(word in name.lower() for word in _NAMES) and len(value) >= _SHORT_KEY_LENGTH
        if is_called_one or _may_be_key(value):
            found.add(value)
    return found | {unquote_plus(piece) for piece in found}


def _may_be_key(piece: str) -> bool:
    is_mixed = any(letter.isdigit() for letter in piece) and any(letter.isalpha() for letter in piece)
    return len(piece) >= (_SHORT_KEY_LENGTH if is_mixed else _KEY_LENGTH)
