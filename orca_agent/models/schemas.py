"""JSON schemas as servers take them that make a model keep to one: what can be enforced is, the rest is left to the engine.

The engine judges every answer by the whole schema and asks once more where it is not fulfilled. So a server may be told less than
the schema says, never something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: what OpenAI's strict mode reads; a schema that says more is sent as advice
_STRICT = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$defs", "$ref"),
        *(
            "title",
            "description",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minItems",
            "maxItems",
        ),
    }
)
#: what Anthropic's enforcement reads, besides schemas within schemas
_PLAIN = frozenset(["type", "required", "enum", "const", "$ref", "title", "description", "default"])
#: members whose members are schemas, and such as are lists of them
_NAMED = ("properties", "$defs")
_LISTED = ("anyOf", "allOf")


def ordered(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``schema`` in one order, however it is written or kept: members as ``required`` lists them, the others by name.

    A grammar follows that order. A journal keeps an object's members by name, but a list as it is.
    """
    return {name: _ordered(name, schema[name], schema) for name in sorted(schema)}


def _ordered(keyword: str, value: Any, schema: Mapping[str, Any]) -> Any:
    if keyword in _NAMED and isinstance(value, Mapping):
        required = schema.get("required")
        listed = required if isinstance(required, list) else ()
        first = dict.fromkeys(name for name in listed if isinstance(name, str) and name in value)
        return {name: _part(value[name]) for name in (*first, *sorted(value.keys() - first.keys()))}
    return _part(value)


def _part(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ordered(value)
    return [_part(each) for each in value] if isinstance(value, list | tuple) else value


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI can enforce it: an object, in which every object is closed and requires all its members."""
    parts = [part for part in _parts(schema) if _is_object(part)]
    return (
        schema.get("type") == "object"
        and all(part.keys() <= _STRICT for part in _parts(schema))
        and all(set(part.get("required", ())) == set(part.get("properties", {})) for part in parts)
        and is_closed(schema)
    )


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether every object in it allows its named members alone: what Anthropic asks for."""
    return all(part.get("additionalProperties") is False for part in _parts(schema) if _is_object(part))


def loosened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Anthropic can enforce of ``schema``: no bounds, no negations. Whatever fulfils ``schema`` fulfils this."""
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, Mapping):
            kept[key] = {name: _loosened(part) for name, part in value.items()}
        elif key in _LISTED and isinstance(value, list):
            kept[key] = [_loosened(part) for part in value]
        elif (key == "items" and "prefixItems" not in schema) or key == "additionalProperties":
            kept[key] = _loosened(value)
        elif key in _PLAIN:
            kept[key] = value
    if "oneOf" in schema and "anyOf" not in schema:  # two alternatives that differ in their bounds alone are both fulfilled now
        kept["anyOf"] = [_loosened(part) for part in schema["oneOf"]]
    return kept


def _loosened(part: Any) -> Any:
    return loosened(part) if isinstance(part, Mapping) else part


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield ``schema`` and every schema in it that a strict one can have."""
    yield schema
    within = [part for key in _NAMED for part in schema.get(key, {}).values()]
    within += [part for key in _LISTED for part in schema.get(key, ())]
    within += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for part in within:
        if isinstance(part, Mapping):
            yield from _parts(part)


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema
