"""Forms of decisions, as JSON schemas: what a small model is held to by its grammar, where its provider can do that.

A form is a hint within the request. Whoever decides is told the form in words as well, and what comes is read by the type itself,
strictly: a form may be narrower than what is accepted, because every text of it must end within a call's tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Form = Mapping[str, Any]

FLAG: Form = {"type": "boolean"}
#: from 0 to 1, as a grammar can say it
SCORE: Form = {"enum": [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]}

_TEXT_MOST = 160


def phrase(most: int = _TEXT_MOST) -> Form:
    """Return the form of a text that is not empty."""
    return {"type": "string", "minLength": 1, "maxLength": most}


def one_of(names: Iterable[str]) -> Form:
    """Return the form of one of ``names``."""
    return {"enum": list(names)}


def several(each: Form, most: int, least: int = 1) -> Form:
    """Return the form of a list."""
    return {"type": "array", "items": dict(each), "minItems": least, "maxItems": most}


def object_of(**members: Form) -> Form:
    """Return the form of an object that has all of ``members`` and nothing else."""
    properties = {name: dict(form) for name, form in members.items()}
    return {"type": "object", "properties": properties, "required": list(members), "additionalProperties": False}
