"""Keeps the node's secrets out of everything that is written down.

A server may echo a key in an error text, a model may repeat one it was shown. Outcomes pass through here before they
reach the journal, so a secret never gets into an entry, a proof or a log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel, SecretStr

STRUCK = "[secret struck out]"

#: shorter values would be struck out of ordinary prose
_SHORTEST = 8

T = TypeVar("T", bound=BaseModel)


class Secrets:
    """The values that must not be written."""

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        values = {secret.get_secret_value() for secret in secrets}
        self._values = sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)
        self._in_json = [json.dumps(value, ensure_ascii=False)[1:-1] for value in self._values]

    def are_in(self, data: bytes) -> bool:
        """Whether any secret stands in ``data``, plainly or as a JSON string."""
        return any(value.encode() in data for value in (*self._values, *self._in_json))

    def strike(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        for value in self._values:
            text = text.replace(value, STRUCK)
        return text

    def clean(self, document: T) -> T:
        """Return ``document`` with every secret replaced in whatever field it stands."""
        if not self._values:
            return document
        text = document.model_dump_json()
        if not any(value in text for value in self._in_json):
            return document
        for value in self._in_json:
            text = text.replace(value, STRUCK)
        return type(document).model_validate_json(text)

    def stream(self, emit: Callable[[str], None]) -> StruckStream:
        """Return a stream that hands on text with every secret replaced, also one that arrives in pieces."""
        return StruckStream(self, self._values, emit)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)} values)"


class StruckStream:
    """Text on its way to a reader. What may be the beginning of a secret is held back until more has come."""

    def __init__(self, secrets: Secrets, values: Sequence[str], emit: Callable[[str], None]) -> None:
        self._secrets = secrets
        self._values = values
        self._emit = emit
        self._held = ""

    def add(self, piece: str) -> None:
        """Take a piece and hand on what is certain."""
        text = self._secrets.strike(self._held + piece)
        keep = max((_overlap(text, value) for value in self._values), default=0)
        self._held = text[len(text) - keep :]
        self._send(text[: len(text) - keep])

    def end(self) -> None:
        """No more comes: hand on what was held back."""
        held, self._held = self._held, ""
        self._send(held)

    def drop(self) -> None:
        """Forget what was held back: the text so far is void."""
        self._held = ""

    def _send(self, text: str) -> None:
        if text:
            self._emit(text)


def _overlap(text: str, secret: str) -> int:
    """Return how many characters at the end of ``text`` are the beginning of ``secret``."""
    return next((size for size in range(min(len(text), len(secret) - 1), 0, -1) if text.endswith(secret[:size])), 0)
