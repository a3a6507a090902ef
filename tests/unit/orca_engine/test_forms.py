"""Forms: every decision has one, and what fulfils it can be read; so a model that is held to it decides something."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine import schema
from orca_engine.machine import Call
from orca_engine.swarms import SWARMS
from orca_protocol.journal import Outcome
from orca_protocol.model import ModelRequest
from tests.unit.orca_engine.worlds import World, agent, item_of, out, saying, spec_of

DECIDING = {
    "MultiAgentRouter": 1,
    "HierarchicalSwarm": 1,
    "AutoSwarmBuilder": 1,
    "auto": 1,
    "HeavySwarm": 1,
    "PlannerWorkerSwarm": 2,
}
TEAM = [agent("A"), agent("B -> C, 日本"), agent("C")]


def filled(form: Any, number: int = 0) -> Any:
    """Something of that form; the members of a list differ."""
    match form:
        case {"enum": values}:
            return values[number % len(values)]
        case {"type": "array", "items": each, "minItems": least, "maxItems": most}:
            return [filled(each, place) for place in range((least + most) // 2)]
        case {"type": "object", "properties": properties}:
            return {name: filled(member, number) for name, member in properties.items()}
        case {"type": "boolean"}:
            return True
        case {"type": "string", "maxLength": most}:
            return f"{'x' * (most - 4)} {number}"
        case _:
            raise AssertionError(form)


@pytest.mark.parametrize(("name", "fields"), [*((name, {}) for name in SWARMS), ("GroupChat", {"speaker_selection": "bidding"})])
def test_what_fulfils_the_form_of_a_decision_is_read(name: str, fields: dict[str, Any]) -> None:
    forms: list[dict[str, Any]] = []

    def answer(call: Call) -> Outcome:
        form = call.request.form if isinstance(call.request, ModelRequest) else None
        if form is None:
            return out(call)
        forms.append(form)
        said = json.dumps(filled(form, 10), ensure_ascii=False)
        assert schema.difference(said, form) is None
        return saying(call, said)

    _, output = World(item_of(**spec_of(name, TEAM, **fields)), answer=answer).run()
    assert len(forms) == (len(TEAM) if fields else DECIDING.get(name, 0))
    assert output.status == "success"
    for form in forms:
        schema.refuse(form, "form")
