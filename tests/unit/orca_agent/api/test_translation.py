"""The Swarms API's fields: each that its own client can send is understood or refused by name, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarms_client.types import AgentCompletionParam, AgentSpecParam, SwarmSpecParam

from orca_agent.api.translation import LEADS, OF_AGENT_REQUESTS, OF_AGENTS, OF_SWARMS, AgentRequest, agent_in, swarm_in, without
from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, SwarmSpec, read_spec

AGENT = {"agent_name": "A", "model_name": "m"}
SPEC = {"task": "T", "agents": [AGENT]}
REFUSED = sorted(name for name, refusal in {**OF_SWARMS, **OF_AGENTS}.items() if refusal.instead is not None)
values = st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3) | st.lists(st.integers(), max_size=1)


@pytest.mark.parametrize(
    ("sent", "ours", "refused"),
    [
        (SwarmSpecParam, SwarmSpec, {**OF_SWARMS, "stream": None}),
        (AgentSpecParam, AgentSpec, OF_AGENTS),
        (AgentCompletionParam, AgentRequest, OF_AGENT_REQUESTS),
    ],
)
def test_every_field_that_the_client_can_send_has_its_place(sent: Any, ours: Any, refused: Mapping[str, Any]) -> None:
    assert set(sent.__annotations__) <= ours.model_fields.keys() | refused.keys()
    for name, refusal in refused.items():
        assert name == "stream" or (name in ours.model_fields) is (refusal.instead is None), "a field is understood or refused"


def test_a_spec_of_ours_is_kept_byte_for_byte() -> None:
    body = json.dumps(SPEC, indent=3).encode()
    assert swarm_in(body).spec == body
    translated = json.loads(swarm_in(json.dumps({**SPEC, "rules": None, "stream": True}).encode()).spec)
    assert translated == SPEC


@given(st.dictionaries(st.sampled_from([*REFUSED, "colour"]), values, max_size=4))
def test_what_is_not_understood_is_harmless_refused_or_left_for_the_schema(given_fields: dict[str, Any]) -> None:
    try:
        kept = without(given_fields, {**OF_SWARMS, **OF_AGENTS}, "x.")
    except InvalidError as error:
        assert error.code == "field_unsupported"
        name = error.detail.removeprefix("x.").partition(":")[0]
        assert given_fields[name] is not None
    else:
        assert kept == ({"colour": given_fields["colour"]} if given_fields.get("colour") is not None else {})


@pytest.mark.parametrize(("name", "value"), [("streaming_on", 0), ("heavy_swarm_loops_per_agent", True), ("llm_args", [])])
def test_a_value_of_another_kind_is_not_harmless(name: str, value: Any) -> None:
    with pytest.raises(InvalidError, match=name):
        without({name: value}, {**OF_SWARMS, **OF_AGENTS}, "")


@pytest.mark.parametrize(("field", "kind"), LEADS.items())
def test_a_leader_by_its_old_name_is_the_lead(field: str, kind: str) -> None:
    spec = read_spec(swarm_in(json.dumps({**SPEC, "swarm_type": kind, field: "boss"}).encode()).spec)
    assert spec.lead is not None
    assert spec.lead.model_name == "boss"
    with pytest.raises(InvalidError, match="field_without_use"):
        swarm_in(json.dumps({**SPEC, field: "boss"}).encode())
    with pytest.raises(InvalidError, match=r"lead\.model_name"):
        swarm_in(json.dumps({**SPEC, "swarm_type": kind, field: "boss", "lead": {"model_name": "m"}}).encode())


@pytest.mark.parametrize("document", [[], "x", 1, None, {"agent_config": 7}, {"agent_config": AGENT, "history": 3, "task": "T"}])
def test_what_is_no_request_is_refused(document: Any) -> None:
    with pytest.raises(InvalidError):
        agent_in(document, "body")
    if not isinstance(document, dict):
        with pytest.raises(InvalidError):
            swarm_in(json.dumps(document).encode())
