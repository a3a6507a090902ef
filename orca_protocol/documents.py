"""Reading and writing typed documents: strict JSON first, then the schema, and errors that name the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError

T = TypeVar("T", bound=BaseModel)


def read(kind: type[T], data: bytes, *, max_bytes: int, where: str, canonical_only: bool = False) -> T:
    """Parse untrusted ``data`` as ``kind``.

    ``canonical_only`` also refuses any other spelling of the same document: other bytes for the same JSON, a default left out, a
    null, a field under another name.

    Raises InvalidError: the codes of ``parse_json``, ``not_canonical``, or ``schema`` with the path of the first wrong field.
    """
    parse_json(data, max_bytes=max_bytes, where=where)
    try:
        document = kind.model_validate_json(data)
    except ValidationError as error:
        raise InvalidError("schema", f"{where}: {describe(error)}") from error
    if canonical_only and write(document) != data:
        raise InvalidError("not_canonical", f"{where} is not spelt as this document is written")
    return document


def write(document: BaseModel) -> bytes:
    """Return the canonical bytes of ``document``; absent optional values are left out."""
    return canonical(document.model_dump(mode="json", exclude_none=True))


def describe(error: ValidationError, *, most: int = 5, named: Callable[[str], str] = str) -> str:
    """Say in one line which fields are wrong and why: ``agents[0].max_loops: Input should be a valid integer``.

    ``named`` turns a field's path into what the reader calls it; of more than ``most`` problems the rest are counted.
    """
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{named(_path(problem['loc']))}: {problem['msg']}" for problem in problems[:most]]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return "; ".join(shown)


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" if text else _shown(part)
    return text or "document"


def _shown(name: str) -> str:
    """A stranger chose this name: it is shown short and without control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:60])
