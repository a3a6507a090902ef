"""What the engine admits, and that every field it admits does something."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most, output_tokens_at_most
from orca_protocol.errors import InvalidError
from orca_protocol.model import Failure
from orca_protocol.spec import SWARM_TYPES
from tests.unit.orca_engine.worlds import World, agent, item_of, run


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"agents": []}, "no_agents", "agents"),
        ({"rearrange_flow": "A -> B"}, "flow_without_use", "rearrange_flow"),
        ({"img": "https://example.org/a.png"}, "img_unsupported", "img"),
        ({"rules": "x" * 900_000, "agents": [agent(f"A{n}") for n in range(20)]}, "prompts_too_long", "rules"),
        ({"schedule": {"scheduled_time": "2026-12-01T09:00:00"}}, "schedule_unsupported", "schedule"),
        ({"max_loops": 1000, "agents": [agent(f"A{n}", max_loops=101) for n in range(1)]}, "too_many_calls", "max_loops"),
        *(
            ({"swarm_type": name}, "swarm_type_unsupported", "swarm_type")
            for name in SWARM_TYPES
            if name not in {"SequentialWorkflow", "ConcurrentWorkflow"}
        ),
    ],
)
def test_what_it_cannot_do_exactly_is_refused_before_anything_is_asked(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(item_of(**{"agents": [agent("A")], **fields}).spec)
    assert caught.value.code == code
    assert caught.value.detail.startswith(field)


def test_bounds_are_known_before_the_first_call() -> None:
    spec = item_of(
        agents=[agent("A", max_loops=3, max_tokens=10), agent("B", auto_generate_prompt=True, max_tokens=7)], max_loops=2
    ).spec
    assert calls_at_most(spec) == 1 + 2 * (3 + 1)
    assert output_tokens_at_most(spec) == 7 + 2 * (3 * 10 + 7)


def first_call(**fields: Any) -> Call:
    world = World(item_of(**fields))
    world.run()
    return world.asked[0]


def test_model_tokens_and_temperature_reach_the_request_zero_included() -> None:
    request = first_call(agents=[agent("A", model_name="some/model", max_tokens=17, temperature=0)]).request
    assert (request.model, request.max_tokens, request.temperature) == ("some/model", 17, 0.0)
    assert first_call(agents=[agent("A")]).request.temperature == 0.5
    assert first_call(agents=[agent("A", temperature=0.2)]).request.temperature == 0.2


def test_rules_and_role_reach_the_system_message() -> None:
    (system, _) = first_call(agents=[agent("A", role="critic")], rules="Be brief.").request.messages
    assert (system.role, system.content) == ("system", "You are A.\n\nYour role: critic\n\nBe brief.")
    (only_rules, _) = first_call(agents=[agent("A", system_prompt=None)], rules="Be brief.").request.messages
    assert only_rules.content == "Be brief."


def test_an_agent_without_any_prompt_gets_no_system_message() -> None:
    (message,) = first_call(agents=[agent("A", system_prompt=None)]).request.messages
    assert (message.role, message.content) == ("user", "TASK")


@pytest.mark.parametrize("name", ["SequentialWorkflow", "ConcurrentWorkflow"])
def test_a_generated_prompt_is_asked_for_first_and_then_used(name: str) -> None:
    agents = [agent("A"), agent("B", auto_generate_prompt=True, description="counts beans", role="counter")]
    world = World(item_of(agents=agents, swarm_type=name))
    world.run()
    assert [call.name for call in world.asked] == ["B", "A", "B"]
    asked_for = world.asked[0].request.messages[-1].content
    assert all(fact in asked_for for fact in ("B", "counts beans", "counter", "You are B.", "TASK"))
    assert world.asked[2].request.messages[0].content.startswith("out(B,0.0.1.0.0)")


def test_an_agent_whose_prompt_could_not_be_written_has_failed() -> None:
    agents = [agent("A"), agent("B", auto_generate_prompt=True)]

    def answer(call: Call) -> Any:
        from tests.unit.orca_engine.worlds import out

        return Failure(code="down", detail="no prompt") if call.path.loop == 0 else out(call)

    _, output = run(item_of(agents=agents, swarm_type="ConcurrentWorkflow"), answer=answer)
    assert output.status == "partial"
    assert output.output[1].error == Failure(code="down", detail="no prompt")


def test_an_absent_swarm_type_is_a_chain_and_says_so() -> None:
    _, output = run(item_of(agents=[agent("A"), agent("B")]))
    assert (output.swarm_type, output.resolved_swarm_type) == ("SequentialWorkflow", "SequentialWorkflow")


def test_answers_without_usage_are_counted_and_not_estimated() -> None:
    from tests.unit.orca_engine.worlds import out

    def answer(call: Call) -> Any:
        return out(call).model_copy(update={"usage": None}) if call.name == "B" else out(call)

    _, output = run(item_of(agents=[agent("A"), agent("B")]), answer=answer)
    assert (output.usage.calls, output.usage.unreported_calls, output.usage.output_tokens) == (2, 1, 3)
