"""Schemas: what can be judged alike everywhere is admitted, and what is wrong is said by place and keyword."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from orca_engine.schema import difference, refuse
from orca_protocol.errors import InvalidError

TREE: dict[str, Any] = {"$defs": {"leaf": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/leaf"}}}


def doubling(levels: int) -> dict[str, Any]:
    """Each level refers twice to the next: 2^levels places."""
    steps = {f"l{n}": {"anyOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**steps, f"l{levels}": {"type": "null"}}, "$ref": "#/$defs/l0"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        doubling(5),
        {"properties": {"pattern": {"const": {"$ref": "data"}}, "uniqueItems": {}}},
        {"enum": [{"pattern": "("}]},
    ],
)
def test_what_can_be_judged_is_admitted(schema: dict[str, Any]) -> None:
    refuse(schema, "here")


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"type": "nothing"}, "schema_malformed"),
        ({"properties": []}, "schema_malformed"),
        ({"items": {"pattern": "(a+)+$"}}, "schema_unsupported"),
        ({"uniqueItems": True}, "schema_unsupported"),
        ({"items": {"unevaluatedProperties": False}}, "schema_unsupported"),
        ({"unevaluatedItems": False}, "schema_unsupported"),
        ({"items": {"enum": [*range(10_000)]}}, "schema_unsupported"),
        ({"$ref": "https://example.org/schema"}, "schema_unsupported"),
        ({"$ref": "#"}, "schema_unsupported"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "schema_unsupported"),
        (doubling(20), "schema_unsupported"),
        ({"description": "x" * 70_000}, "schema_unsupported"),
    ],
)
def test_what_cannot_be_judged_at_a_bounded_cost_is_refused(schema: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        refuse(schema, "here")
    assert (caught.value.code, caught.value.detail[:6]) == (code, "here: ")


@pytest.mark.parametrize(
    ("text", "schema", "says"),
    [
        ('{"a": "x"}', TREE, None),
        (' {"a": 1} ', TREE, "answer/a breaks its 'type'"),
        ("[1, 2]", {"items": {"type": "string"}, "maxItems": 1}, "answer breaks its 'maxItems'"),
        ("{}", {"required": ["b"], "minProperties": 1}, "answer breaks its 'minProperties'"),
        ("```json\n{}\n```", {}, "not one strict JSON value"),
        ('{"a": 1, "a": 2}', {}, "not one strict JSON value (json_duplicate_key)"),
    ],
)
def test_the_first_difference_is_named(text: str, schema: dict[str, Any], says: str | None) -> None:
    said = difference(text, schema)
    assert (said is None) if says is None else (said is not None and says in said)


def each(places: int) -> dict[str, Any]:
    """A list, each value of which is judged at so many places and fulfils none."""
    return {"items": {"allOf": [{"type": "string"}] * places}}


@pytest.mark.parametrize(
    ("answer", "schema", "says"),
    [
        ([0] * 10_000, each(100), "more values than can be judged"),
        (["x"] * 10_000, each(100), "more values than can be judged"),
        ([{"a": 4999}] * 5000, {"items": {"enum": [{"a": number} for number in range(4000)]}}, "more values than can be judged"),
        ([0] * 1000, each(100), "The answer does not fulfil the schema."),
        ("x" * 900_000, {"allOf": [{"maxLength": 9}] * 100}, "The answer does not fulfil the schema."),
        (["x"] * 1000, each(100), None),
        ([0] * 100, each(100), "answer/0 breaks its 'type'"),
    ],
)
def test_judging_costs_no_more_than_values_times_places_allow(answer: Any, schema: dict[str, Any], says: str | None) -> None:
    refuse(schema, "here")
    started = time.process_time()
    said = difference(json.dumps(answer), schema)
    assert time.process_time() - started < 2  # it was a minute and more
    assert said == says if says is None or says.endswith(".") else said is not None and says in said
