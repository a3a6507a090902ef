"""JSON schemas on the wire: sent as far as they can be enforced, and never as something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from orca_agent.models.anthropic import AnthropicProvider, AnthropicSettings
from orca_agent.models.http import HttpClient
from orca_agent.models.openai import OpenAIProvider, OpenAISettings
from orca_agent.models.schemas import is_closed, is_strict, loosened, ordered
from orca_protocol.canonical import canonical
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca_agent.models.requests import asked

CITY = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
BOUNDED = {**CITY, "properties": {"name": {"type": "string", "minLength": 1}}}
OPEN = {"type": "object", "properties": {"name": {"type": "string"}}}


def body_of(server: ScriptedServer) -> dict[str, Any]:
    (request,) = server.stats()["requests"]
    found: dict[str, Any] = request["request"]
    return found


@pytest.mark.parametrize(("schema", "strict"), [(CITY, True), (BOUNDED, False), (OPEN, False)])
async def test_openai_gets_the_schema_as_it_is(
    server: ScriptedServer, http: HttpClient, schema: dict[str, Any], strict: bool
) -> None:
    await OpenAIProvider(OpenAISettings(base_url=server.openai), http).complete("m", asked(response_schema=schema), None)
    wanted = {"name": "answer", "schema": schema, "strict": strict}
    assert body_of(server)["response_format"] == {"type": "json_schema", "json_schema": wanted}


@pytest.mark.parametrize(("schema", "enforced"), [(CITY, CITY), (BOUNDED, CITY), (OPEN, None)])
async def test_anthropic_gets_what_it_enforces(
    server: ScriptedServer, http: HttpClient, schema: dict[str, Any], enforced: Any
) -> None:
    await AnthropicProvider(AnthropicSettings(base_url=server.url), http).complete("m", asked(response_schema=schema), None)
    config = body_of(server).get("output_config")
    assert config == (None if enforced is None else {"format": {"type": "json_schema", "schema": enforced}})


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "string"}, False),
        ({**CITY, "required": []}, False),
        ({**CITY, "properties": {"name": OPEN}}, False),
        ({**CITY, "properties": {"name": {"type": "array", "items": OPEN}}}, False),
        ({**CITY, "properties": {"name": {"anyOf": [CITY, {"type": "null"}]}}}, True),
        ({**CITY, "properties": {"name": {"oneOf": [CITY]}}}, False),
        ({**CITY, "properties": {"name": {"$ref": "#/$defs/c"}}, "$defs": {"c": OPEN}}, False),
        ({**CITY, "properties": {"name": {"$ref": "#/$defs/c"}}, "$defs": {"c": CITY}}, True),
        ({**CITY, "not": {}}, False),
    ],
)
def test_what_openai_can_enforce(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) == strict


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


def grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", ["string", "null"]]),
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "required": st.lists(st.sampled_from("ab"), unique=True, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "prefixItems": lists,
            "anyOf": lists,
            "oneOf": lists,
            "allOf": lists,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "contains": inner,
            "enum": st.lists(values, min_size=1, max_size=2, unique_by=json.dumps),
            "minLength": st.integers(0, 2),
            "maximum": st.integers(-1, 2),
            "minItems": st.integers(0, 2),
            "maxProperties": st.integers(0, 2),
            "unevaluatedProperties": st.booleans(),
            "propertyNames": inner,
        },
    )


@given(st.recursive(grown(st.just({})), grown, max_leaves=6), values)
def test_whatever_fulfils_a_schema_fulfils_what_is_sent_of_it(schema: dict[str, Any], value: Any) -> None:
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(loosened(schema)).is_valid(value)


@given(st.recursive(grown(st.just({})), grown, max_leaves=6))
def test_loosening_opens_no_object(schema: dict[str, Any]) -> None:
    assert loosened(loosened(schema)) == loosened(schema)
    if is_closed(schema):
        assert is_closed(loosened(schema)) or "oneOf" in json.dumps(schema)


def test_members_come_as_required_lists_them_whatever_order_they_are_kept_in() -> None:
    inner = {"type": "object", "properties": {"b": {}, "a": {}, "c": {}}, "required": ["c", "b"]}
    schema = {"type": "object", "properties": {"list": {"items": inner}, "plan": {}}, "required": ["plan", "list"]}
    kept = json.loads(canonical(schema))
    assert list(kept["properties"]) == ["list", "plan"]
    for one in (schema, kept):
        found = ordered(one)
        assert found == schema
        assert list(found["properties"]) == ["plan", "list"]
        assert list(found["properties"]["list"]["items"]["properties"]) == ["c", "b", "a"]
    assert json.dumps(ordered(kept)) == json.dumps(ordered(schema))


@pytest.mark.parametrize("required", [None, "a", [{"a": 1}, 3, "z", "b", "b"]])
def test_what_required_does_not_list_comes_by_name(required: object) -> None:
    found = ordered({"properties": {"b": {}, "a": {}}, "required": required})
    assert list(found["properties"]) == (["b", "a"] if isinstance(required, list) else ["a", "b"])


def test_a_member_that_is_called_properties_is_a_member() -> None:
    schema = {"properties": {"z": {"enum": [{"b": 1, "a": 2}]}, "properties": {"type": "string"}}, "required": ["z", "properties"]}
    assert ordered(schema) == schema
    assert list(ordered(schema)["properties"]) == ["z", "properties"]
