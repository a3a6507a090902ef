"""Answers that must fulfil a JSON schema (2020-12), judged alike on every node and at a bounded cost.

``refuse`` admits what can be judged so: no regular expressions (they can take for ever, and differ between languages), no
references but to the schema's own ``$defs``, none in a circle, and not too much of it. An answer with too many values for its
schema is not judged: at most, each value meets each place. What is wrong with an answer is said in our own words, for it goes back
to the model and into the journal: another version of the library may word it otherwise, but agrees on the place and the keyword.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

SCHEMA_MAX_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 1_000_000
#: places in a schema, each counted as often as references lead there
_PLACES_MAX = 10_000
#: values of an answer times places of its schema: a quarter of a second where all of them must be compared
_WORK_MAX = 1_000_000
#: the same where each may be an error, which costs a hundred times as much and holds a copy of what it is about: so many characters
#: of the answer count as one value more
_TOLD_MAX = 50_000
_CHARACTERS = 64
_TOO_MUCH = "The answer has more values than can be judged by its schema; give a shorter one."
_UNFULFILLED = "The answer does not fulfil the schema."
#: ``uniqueItems`` costs the square of a long answer, ``unevaluated…`` twice as much with each level of the schema
_REFUSED = (
    "uniqueItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "pattern",
    "patternProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$anchor",
    "$id",
    "$schema",
    "$vocabulary",
)
#: members whose own members are names, not keywords; and such as hold data
_NAMED = ("properties", "dependentSchemas", "dependentRequired")
_DATA = ("enum", "const", "default", "examples", "required")
#: data that each value of an answer is compared with
_COMPARED = ("enum", "const", "required")
_DEFS = "#/$defs/"


def refuse(schema: Mapping[str, Any], where: str) -> None:
    """Raise InvalidError ``schema_unsupported`` or ``schema_malformed`` if answers cannot be judged by ``schema``."""
    size = len(canonical(schema))
    if size > SCHEMA_MAX_BYTES:
        raise InvalidError("schema_unsupported", f"{where}: it has {size} bytes; at most {SCHEMA_MAX_BYTES} are read")
    _places(schema, schema, where, ())
    try:
        _judge(canonical(schema))
    except ValueError as error:
        raise InvalidError("schema_malformed", f"{where}: it is no JSON schema of 2020-12") from error


def difference(text: str, schema: Mapping[str, Any]) -> str | None:
    """Return what of ``schema`` the answer ``text`` does not fulfil, in a sentence; None if it fulfils it."""
    try:
        answer = parse_json(text.strip().encode(errors="surrogatepass"), max_bytes=ANSWER_MAX_BYTES, where="answer")
    except InvalidError as error:
        return f"That is not one strict JSON value ({error.code})."
    judge, values = _judge(canonical(schema)), _values(answer)
    if values * judge.places > _WORK_MAX:
        return _TOO_MUCH
    if judge.validator.is_valid(answer):
        return None
    if (values + len(text) // _CHARACTERS) * judge.places > _TOLD_MAX:
        return _UNFULFILLED
    path, keyword = min(
        ("/".join(["answer", *map(str, error.instance_path)]), str(error.schema_path[-1]))
        for error in judge.validator.iter_errors(answer)
    )
    return f"The answer does not fulfil the schema: {path} breaks its {keyword!r}."


@dataclass(frozen=True, slots=True)
class _Judge:
    """A schema made ready, and how many places it has."""

    validator: Draft202012Validator
    places: int


@lru_cache(maxsize=64)
def _judge(schema: bytes) -> _Judge:
    from jsonschema_rs import Draft202012Validator  # it costs every other run's start some 50 ms

    document = parse_json(schema, max_bytes=2 * SCHEMA_MAX_BYTES, where="schema")
    return _Judge(Draft202012Validator(document), _places(document, document, "schema", ()))


def _values(answer: Any) -> int:
    """Return how many values ``answer`` holds, itself included."""
    match answer:
        case dict():
            return 1 + sum(map(_values, answer.values()))
        case list():
            return 1 + sum(map(_values, answer))
        case _:
            return 1


def _places(part: Any, schema: Mapping[str, Any], where: str, via: tuple[str, ...]) -> int:
    """Return how many places judging by ``part`` can visit, values to compare with among them."""
    if isinstance(part, list):
        return _counted(sum(_places(each, schema, where, via) for each in part), where)
    if not isinstance(part, dict):
        return 1
    count = 1
    for key, value in part.items():
        if key in _REFUSED:
            raise InvalidError("schema_unsupported", f"{where}: {key!r} is not supported")
        if key == "$ref":
            count += _places(_target(value, schema, where, via), schema, where, (*via, value))
        elif key in _NAMED and isinstance(value, dict):
            count += sum(_places(each, schema, where, via) for each in value.values())
        elif key in _COMPARED:
            count += _values(value)
        elif key not in _DATA and key != "$defs":
            count += _places(value, schema, where, via)
        _counted(count, where)
    return count


def _counted(count: int, where: str) -> int:
    if count > _PLACES_MAX:
        raise InvalidError("schema_unsupported", f"{where}: with its references it has more than {_PLACES_MAX} places")
    return count


def _target(reference: Any, schema: Mapping[str, Any], where: str, via: tuple[str, ...]) -> Any:
    definitions = schema.get("$defs", {})
    name = str(reference).removeprefix(_DEFS)
    if not str(reference).startswith(_DEFS) or name not in definitions:
        raise InvalidError("schema_unsupported", f"{where}: $ref must lead to a member of the schema's own $defs")
    if reference in via:
        raise InvalidError("schema_unsupported", f"{where}: {reference} refers to itself; schemas may not be recursive")
    return definitions[name]
