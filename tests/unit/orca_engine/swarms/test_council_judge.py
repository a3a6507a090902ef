"""CouncilAsAJudge: six judges on one text, and a head that sums up."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most, output_tokens_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import LEAD, World, agent, failing, item_of, prompt


def council(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "CouncilAsAJudge", "lead": LEAD, **fields}))


def test_six_judges_together_each_at_one_quality_then_the_head() -> None:
    world = council()
    _, output = world.run()
    assert (len(world.asked), world.most_open) == (7, 6)
    assert (calls_at_most(world.item.spec), output_tokens_at_most(world.item.spec)) == (7, 7 * 77)
    judges = [call.name for call in world.asked[:6]]
    assert judges[:2] == ["Accuracy Judge", "Helpfulness Judge"]
    assert len({call.asked.messages[0].content for call in world.asked[:6]}) == 6
    assert not any("out(" in prompt(call) for call in world.asked[:6])
    assert all(f"{name}: out({name}," in prompt(world.asked[-1]) for name in judges)
    assert [message.role for message in output.output] == [*judges, "Council"]
    assert {call.asked.model for call in world.asked} == {"lead-model"}


def test_a_failed_judge_is_left_out() -> None:
    world = council()
    world.answer = failing("Coherence Judge")
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("partial", 7)


def test_it_lists_no_agents_and_names_a_lead_with_a_name_of_its_own() -> None:
    with pytest.raises(InvalidError, match="agents: CouncilAsAJudge makes its own"):
        admit(council(agents=[agent("A")]).item.spec)
    with pytest.raises(InvalidError, match="lead: CouncilAsAJudge"):
        admit(council(lead=None).item.spec)
    with pytest.raises(InvalidError, match=r"lead\.agent_name"):
        admit(council(lead={"agent_name": "Accuracy Judge", "model_name": "m"}).item.spec)
