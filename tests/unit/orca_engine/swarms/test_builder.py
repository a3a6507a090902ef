"""AutoSwarmBuilder: the acceptance cases ASB-1 to ASB-5."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most, output_tokens_at_most
from orca_engine.replay import replay
from orca_engine.swarms.builder import BUILT
from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError
from orca_protocol.output import OUTPUT_MAX_BYTES, Output
from orca_protocol.spec import read_spec
from tests.unit.orca_engine.worlds import LEAD, World, asks, failing, item_of, out, prompt, saying


def team(*names: str, kind: str = "SequentialWorkflow", **more: Any) -> dict[str, Any]:
    return {"swarm_type": kind, "agents": [{"agent_name": name, "system_prompt": f"You are {name}."} for name in names], **more}


def built(*answers: Any, **fields: Any) -> World:
    """A world whose builder gives these answers, the last one for ever."""
    world = World(item_of(**{"swarm_type": "AutoSwarmBuilder", "lead": LEAD, **fields}))
    left = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
    world.answer = lambda call: (
        saying(call, left.pop(0) if len(left) > 1 else left[0]) if asks(call, "Design a team") else out(call)
    )
    return world


def test_asb_1_a_task_alone_becomes_a_team_that_runs_and_its_spec_is_returned() -> None:
    world = built(team("X", "Y"), agents=None, rules="Be brief.")
    entries, output = world.run()
    assert [(call.name, call.path) for call in world.asked] == [
        ("Builder", (0, 0, 0, 0, 0)),
        ("X", (1, 0, 0, 0, 0)),
        ("Y", (1, 1, 0, 0, 0)),
    ]
    assert "TASK" in prompt(world.asked[0])
    assert world.asked[2].asked.messages[0].content == "You are Y.\n\nBe brief."
    assert [message.role for message in output.output] == ["X", "Y"]
    assert (output.status, output.swarm_type, output.resolved_swarm_type) == ("success", "AutoSwarmBuilder", "SequentialWorkflow")
    assert output.generated_spec is not None
    assert [agent.agent_name for agent in output.generated_spec.agents] == ["X", "Y"]
    assert replay(world.item, entries) == output


def test_asb_1_the_returned_spec_can_be_run_as_it_stands() -> None:
    _, output = built(team("X", "Y", kind="AgentRearrange", rearrange_flow="X -> Y")).run()
    assert output.generated_spec is not None
    again = read_spec(write(output.generated_spec))
    admit(again)
    assert again == output.generated_spec
    assert read(Output, write(output), max_bytes=OUTPUT_MAX_BYTES, where="output.json", canonical_only=True) == output


def test_asb_2_a_fence_is_accepted() -> None:
    world = built(f"```json\n{json.dumps(team('X'))}\n```")
    _, output = world.run()
    assert (len(world.asked), output.status) == (2, "success")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("I would take two agents.", "json_malformed"),
        (team(*(f"N{n}" for n in range(50))), "it must have 1 to 10"),  # ASB-3
        (team(), "it must have 1 to 10"),
        (team("X", kind="auto"), 'answer.swarm_type is "auto"; it must be one of SequentialWorkflow'),  # ASB-4
        (team("X", kind="AutoSwarmBuilder"), "it must be one of"),
        (team("X", "X"), "two agents of one name"),
        (team("X" * 101), "must have 1 to 100 characters"),
        (team(""), "must have 1 to 100 characters"),
        (team(" "), "must have 1 to 100 characters, and not be blank"),
        ({**team(), "agents": [{"agent_name": "X", "system_prompt": ""}]}, "system_prompt must be a string that is not blank"),
        (team("X", kind="MixtureOfAgents"), "for MixtureOfAgents it must have 2 to 10"),
        (team("X", kind="AgentRearrange"), "rearrange_flow is for AgentRearrange"),
        (team("X", rearrange_flow="X"), "rearrange_flow is for AgentRearrange"),
        (team("X", "Y", kind="AgentRearrange", rearrange_flow="X -> X"), "must name each agent once"),
        (team("X", "Y", kind="AgentRearrange", rearrange_flow="X -> Z"), 'no agent is named "Z"'),
        ({"swarm_type": "SequentialWorkflow", "agents": ["X"]}, "answer.agents[0] is no JSON object"),
    ],
)
def test_asb_2_3_4_a_wrong_team_is_repaired_once_and_then_an_error_without_any_agent_asked(wrong: Any, says: str) -> None:
    world = built(wrong)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Builder", "Builder"]
    assert says in prompt(world.asked[1])
    assert (output.status, output.generated_spec) == ("error", None)
    assert output.output[0].error is not None
    assert output.output[0].error.code == "decision_unreadable"


@pytest.mark.parametrize("wrong", [team("X", kind="auto"), team("X", kind="AutoSwarmBuilder"), team("X", "X")])
def test_asb_4_a_team_that_would_decide_again_or_has_two_of_one_name_may_be_corrected(wrong: dict[str, Any]) -> None:
    world = built(wrong, team("X"))
    _, output = world.run()
    assert [call.name for call in world.asked] == ["Builder", "Builder", "X"]
    assert (output.status, output.resolved_swarm_type) == ("success", "SequentialWorkflow")


def test_asb_3_the_cap_is_the_specs_and_the_ceiling_follows_from_it() -> None:
    world = built(team("X", "Y", "Z", kind="HierarchicalSwarm"), plan_max=3, max_loops=2)
    world.run()
    assert calls_at_most(world.item.spec) == 2 + 2 * (2 + 3) + 1
    assert output_tokens_at_most(world.item.spec) == 77 * calls_at_most(world.item.spec)
    world = built(team("X", "Y", "Z", "Q"), plan_max=3)
    _, output = world.run()
    assert output.status == "error"


def test_asb_5_a_model_that_is_not_allowed_is_replaced_and_reported() -> None:
    wanted = team("X", "Y")
    wanted["agents"][0]["model_name"] = "vendor/best"
    wanted["agents"][1]["model_name"] = "m2"
    world = built(wanted, allowed_models=["m1", "m2"])
    _, output = world.run()
    assert [call.asked.model for call in world.asked] == ["lead-model", "m1", "m2"]
    assert output.notes is not None
    assert [(note.code, "vendor/best" in note.detail) for note in output.notes] == [("model_replaced", True)]
    assert "Models are: m1, m2." in prompt(world.asked[0])
    assert world.item.spec.model_names == ("lead-model", "m1", "m2")


def test_agents_have_the_leads_model_tokens_and_temperature() -> None:
    world = built(team("X"))
    world.run()
    request = world.asked[1].asked
    assert (request.model, request.max_tokens, request.temperature) == ("lead-model", 77, 0.0)


@pytest.mark.parametrize("kind", BUILT)
def test_every_type_that_can_be_built_runs_with_the_fewest_agents(kind: str) -> None:
    names = [f"N{n}" for n in range(BUILT[kind])]
    more = {"rearrange_flow": " -> ".join(names)} if kind == "AgentRearrange" else {}
    _, output = built(team(*names, kind=kind, **more)).run()
    assert output.resolved_swarm_type == kind
    assert output.generated_spec is not None
    admit(output.generated_spec)


def test_without_a_lead_or_with_agents_it_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        admit(item_of(swarm_type="AutoSwarmBuilder").spec)
    assert (caught.value.code, caught.value.detail.split(":")[0]) == ("lead_missing", "lead")
    with pytest.raises(InvalidError) as caught:
        admit(item_of(swarm_type="AutoSwarmBuilder", lead=LEAD, agents=[{"agent_name": "A", "model_name": "m"}]).spec)
    assert (caught.value.code, caught.value.detail.split(":")[0]) == ("agents_too_many", "agents")
    with pytest.raises(InvalidError, match="tasks: AutoSwarmBuilder decides for one task"):
        admit(item_of(swarm_type="AutoSwarmBuilder", lead=LEAD, task=None, tasks=["T"]).spec)


def test_a_failed_agent_of_the_team_ends_as_its_type_says() -> None:
    world = built(team("X", "Y"))
    good = world.answer
    world.answer = lambda call: failing("X")(call) if call.name == "X" else good(call)
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 2)
