"""What the engine admits, and that every field it admits does something."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most, output_tokens_at_most, program_of
from orca_engine.swarm_type import SPECIAL_FIELDS
from orca_engine.swarms import SWARMS
from orca_engine.transcript import GO_ON
from orca_protocol.errors import InvalidError
from orca_protocol.model import Failure
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, prompt, run, spec_of

FUNCTIONS = [{"function": {"name": name}} for name in ("f", "g", "f")]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"agents": []}, "no_agents", "agents"),
        ({"rearrange_flow": "A -> B"}, "field_without_use", "rearrange_flow"),
        ({"img": "file:///etc/passwd"}, "img_malformed", "img"),
        ({"agents": [agent("A", selected_tools=["read"])]}, "field_without_use", "agents[0].selected_tools"),
        ({"agents": [agent("A", max_tool_rounds=2)]}, "field_without_use", "agents[0].max_tool_rounds"),
        ({"agents": [agent("A", response_schema={"type": "nothing"})]}, "schema_malformed", "agents[0].response_schema"),
        ({"agents": [agent("A", response_schema={"pattern": "a*"})]}, "schema_unsupported", "agents[0].response_schema"),
        ({"agents": [agent("A", tools_list_dictionary=FUNCTIONS)]}, "tool_twice", "agents[0].tools_list_dictionary"),
        ({"rules": "x" * 900_000, "agents": [agent(f"A{n}") for n in range(20)]}, "prompts_too_long", "rules"),
        ({"max_loops": 1000, "agents": [agent(f"A{n}", max_loops=101) for n in range(1)]}, "too_many_calls", "max_loops"),
    ],
)
def test_what_it_cannot_do_exactly_is_refused_before_anything_is_asked(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(item_of(**{"agents": [agent("A")], **fields}).spec)
    assert caught.value.code == code
    assert caught.value.detail.startswith(field)


@pytest.mark.parametrize("name", SWARMS)
def test_a_field_that_a_type_does_not_use_is_refused_and_its_users_are_named(name: str) -> None:
    given: dict[str, Any] = {
        "rearrange_flow": "A",
        "lead": {"model_name": "m"},
        "voting": "consensus",
        "speaker_selection": "round_robin",
        "synthesis": True,
        "plan_max": 3,
        "allowed_models": ["m"],
        "nodes": [{"name": name, "agent_name": name} for name in "ABC"],
        "edges": [],
    }
    assert tuple(given) == SPECIAL_FIELDS
    agents = [agent("A"), agent("B"), agent("C")]
    for field, value in given.items():
        spec = item_of(**{**spec_of(name, agents), field: value}).spec
        if field in SWARMS[name].uses or (name == "auto" and field == "rearrange_flow"):
            admit(spec)
            continue
        with pytest.raises(InvalidError) as caught:
            admit(spec)
        assert caught.value.code == "field_without_use"
        assert caught.value.detail.startswith(f"{field}: {name} does not use it; it is for ")


@pytest.mark.parametrize("name", [name for name, kind in SWARMS.items() if kind.agents[0] and name != "auto"])
def test_every_type_says_how_many_agents_it_needs(name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(item_of(**{**spec_of(name, [agent("A"), agent("B"), agent("C")]), "agents": None}).spec)
    assert (caught.value.code, caught.value.detail.split(":")[0]) == ("no_agents", "agents")


def test_every_refused_spec_is_refused_by_a_program_too() -> None:
    with pytest.raises(InvalidError, match="no_agents"):
        program_of(item_of(swarm_type="MajorityVoting")).close()


def test_bounds_are_known_before_the_first_call() -> None:
    spec = item_of(
        agents=[agent("A", max_loops=3, max_tokens=10), agent("B", auto_generate_prompt=True, max_tokens=7)], max_loops=2
    ).spec
    assert calls_at_most(spec) == 1 + 2 * (3 + 1)
    assert output_tokens_at_most(spec) == 7 + 2 * (3 * 10 + 7)


def test_api_8_tasks_are_one_run_each_and_no_run_knows_of_another() -> None:
    fields = {"agents": [agent("A", auto_generate_prompt=True), agent("B")], "max_loops": 2, "task": None, "tasks": ["T1", "T2"]}
    world = World(item_of(**fields))
    _, output = world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 2 * (1 + 4)
    assert [call.path.loop for call in world.asked] == [0, 1, 1, 2, 2, 3, 4, 4, 5, 5]
    assert all("T2" not in prompt(call) for call in world.asked[:5])
    assert all("T1" not in prompt(call) and "out(A,1" not in prompt(call) for call in world.asked[5:])
    assert [(message.role, message.task) for message in output.output] == [(name, task) for task in (0, 1) for name in "ABAB"]
    assert (output.status, output.tasks_completed) == ("success", 2)
    assert output_tokens_at_most(world.item.spec) == 10 * 8192


def test_tasks_of_which_some_fail_are_partial_and_of_which_all_fail_an_error() -> None:
    fields = {"agents": [agent("A"), agent("B")], "task": None, "tasks": ["T1", "T2", "T3"]}

    def fails(*tasks: str) -> Any:
        return lambda call: failing(call.name)(call) if any(task in prompt(call) for task in tasks) else out(call)

    _, output = run(item_of(**fields), answer=fails("T2"))
    assert (output.status, output.tasks_completed) == ("partial", 2)
    assert [(message.task, message.content is None) for message in output.output] == [
        (0, False),
        (0, False),
        (1, True),
        (2, False),
        (2, False),
    ]
    _, output = run(item_of(**fields), answer=fails("T1", "T2", "T3"))
    assert (output.status, output.tasks_completed) == ("error", 0)


def test_a_stop_leaves_the_tasks_that_had_not_begun() -> None:
    world = World(item_of(agents=[agent("A")], task=None, tasks=["T1", "T2", "T3"]), stop_after=1)
    _, output = world.run()
    assert (output.status, output.stopped, len(world.asked)) == ("partial", "cancelled", 1)
    assert [message.task for message in output.output] == [0, 1]


def test_without_history_each_task_has_its_last_step() -> None:
    _, output = run(item_of(agents=[agent("A"), agent("B")], task=None, tasks=["T1", "T2"], return_history=False))
    assert [(message.role, message.task) for message in output.output] == [("B", 0), ("B", 1)]


def test_notes_of_a_task_say_which() -> None:
    fields = {"swarm_type": "MajorityVoting", "voting": "exact", "task": None, "tasks": ["T1", "T2"]}
    _, output = run(item_of(**fields, agents=[agent("A"), agent("B")]))
    assert output.notes is not None
    assert [(note.code, note.task) for note in output.notes] == [("tie", 0), ("tie", 1)]


def test_api_9_messages_stand_before_the_task_and_both_reach_the_model() -> None:
    before = [{"role": "user", "content": "earlier"}, {"role": "assistant", "content": "answered"}]
    request = first_call(agents=[agent("A")], messages=before).asked
    assert [(message.role, message.content) for message in request.messages] == [
        ("system", "You are A."),
        ("user", "earlier"),
        ("assistant", "answered"),
        ("user", "TASK"),
    ]


def test_without_a_task_the_last_message_is_it() -> None:
    before = [{"role": "user", "content": "earlier"}, {"role": "user", "content": "do it"}]
    world = World(item_of(agents=[agent("A", auto_generate_prompt=True)], messages=before, task=None))
    world.run()
    assert "Task of the swarm: do it" in prompt(world.asked[0])
    assert [message.content for message in world.asked[1].asked.messages][1:] == ["earlier", "do it"]


def test_two_assistant_messages_in_a_row_are_parted() -> None:
    before = [{"role": "user", "content": "u"}, *[{"role": "assistant", "content": text} for text in "ab"]]
    request = first_call(agents=[agent("A")], messages=before).asked
    assert [message.content for message in request.messages][1:] == ["u", "a", GO_ON, "b", "TASK"]


def test_what_was_called_before_and_what_it_returned_reach_the_model_as_such() -> None:
    call = {"id": "c1", "name": "book", "arguments": '{"seats": 2}'}
    before = [
        {"role": "user", "content": "Book."},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "booked"},
    ]
    request = first_call(agents=[agent("A")], messages=before, task=None).asked
    assert [message.document() for message in request.messages[1:]] == [
        {"role": "user", "content": "Book."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "booked", "tool_call_id": "c1"},
    ]


def first_call(**fields: Any) -> Call:
    world = World(item_of(**fields))
    world.run()
    return world.asked[0]


def test_model_tokens_and_temperature_reach_the_request_zero_included() -> None:
    request = first_call(agents=[agent("A", model_name="some/model", max_tokens=17, temperature=0)]).asked
    assert (request.model, request.max_tokens, request.temperature) == ("some/model", 17, 0.0)
    assert first_call(agents=[agent("A")]).asked.temperature == 0.5
    assert first_call(agents=[agent("A", temperature=0.2)]).asked.temperature == 0.2


def test_rules_and_role_reach_the_system_message() -> None:
    (system, _) = first_call(agents=[agent("A", role="critic")], rules="Be brief.").asked.messages
    assert (system.role, system.content) == ("system", "You are A.\n\nYour role: critic\n\nBe brief.")
    (only_rules, _) = first_call(agents=[agent("A", system_prompt=None)], rules="Be brief.").asked.messages
    assert only_rules.content == "Be brief."


def test_an_agent_without_any_prompt_gets_no_system_message() -> None:
    (message,) = first_call(agents=[agent("A", system_prompt=None)]).asked.messages
    assert (message.role, message.content) == ("user", "TASK")


@pytest.mark.parametrize("name", ["SequentialWorkflow", "ConcurrentWorkflow"])
def test_a_generated_prompt_is_asked_for_first_and_then_used(name: str) -> None:
    agents = [agent("A"), agent("B", auto_generate_prompt=True, description="counts beans", role="counter")]
    world = World(item_of(agents=agents, swarm_type=name))
    world.run()
    assert [call.name for call in world.asked] == ["B", "A", "B"]
    asked_for = world.asked[0].asked.messages[-1].content
    assert all(fact in asked_for for fact in ("B", "counts beans", "counter", "You are B.", "TASK"))
    assert world.asked[2].asked.messages[0].content.startswith("out(B,0.0.1.0.0)")


def test_an_agent_whose_prompt_could_not_be_written_has_failed() -> None:
    agents = [agent("A"), agent("B", auto_generate_prompt=True)]

    def answer(call: Call) -> Any:
        return Failure(code="down", detail="no prompt") if call.path.loop == 0 else out(call)

    _, output = run(item_of(agents=agents, swarm_type="ConcurrentWorkflow"), answer=answer)
    assert output.status == "partial"
    assert output.output[1].error == Failure(code="down", detail="no prompt")


def test_an_absent_swarm_type_is_a_chain_and_says_so() -> None:
    _, output = run(item_of(agents=[agent("A"), agent("B")]))
    assert (output.swarm_type, output.resolved_swarm_type) == ("SequentialWorkflow", "SequentialWorkflow")


def test_answers_without_usage_are_counted_and_not_estimated() -> None:
    def answer(call: Call) -> Any:
        return out(call).model_copy(update={"usage": None}) if call.name == "B" else out(call)

    _, output = run(item_of(agents=[agent("A"), agent("B")]), answer=answer)
    assert (output.usage.calls, output.usage.unreported_calls, output.usage.output_tokens) == (2, 1, 3)
