"""MajorityVoting: the acceptance cases MAJ-1 to MAJ-5."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, prompt, saying

ABC = [agent("A"), agent("B"), agent("C", model_name="mc", max_tokens=9, temperature=0)]


def vote(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "MajorityVoting", "agents": ABC, **fields}))


def saying_each(**texts: str) -> Any:
    return lambda call: saying(call, texts[call.name]) if call.name in texts else out(call)


def test_maj_1_voters_are_blind_and_the_consensus_reads_all_in_listed_order() -> None:
    world = vote()
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert len(world.asked) == 4
    assert world.most_open == 3
    assert all("out(" not in prompt(call) for call in world.asked[:3])
    texts = [message.content for message in world.asked[3].asked.messages]
    assert texts[1:5] == ["TASK", "A: out(A,1.0.0.0.0)", "B: out(B,1.0.1.0.0)", "C: out(C,1.0.2.0.0)"]
    assert [message.role for message in output.output] == ["A", "B", "C", "Consensus-Agent"]


def test_maj_2_a_second_round_reads_the_first_with_its_consensus() -> None:
    world = vote(agents=ABC[:2], max_loops=2)
    world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 6
    second = prompt(world.asked[3])
    assert all(
        words in second for words in ("out(A,1.0.0.0.0)", "out(B,1.0.1.0.0)", "Consensus-Agent: out(Consensus-Agent,1.1.0.0.0)")
    )


def test_maj_3_equal_answers_are_counted_and_no_model_is_asked_for_more() -> None:
    world = vote(voting="exact")
    world.answer = saying_each(A="no", B="yes", C=" yes\n")
    _, output = world.run()
    assert len(world.asked) == calls_at_most(world.item.spec) == 3
    assert (output.output[-1].role, output.output[-1].content) == ("Consensus-Agent", "yes")
    assert output.votes is not None
    assert [(vote.answer, vote.votes) for vote in output.votes] == [("yes", 2), ("no", 1)]
    assert output.notes is None


def test_maj_3_a_tie_goes_to_the_answer_whose_first_voter_is_listed_first() -> None:
    world = vote(voting="exact")
    world.answer = saying_each(A="maybe", B="yes", C="no")
    _, output = world.run()
    assert output.output[-1].content == "maybe"
    assert output.notes is not None
    assert [note.code for note in output.notes] == ["tie"]


def test_maj_4_a_failed_voter_has_no_vote_and_the_quorum_is_more_than_half() -> None:
    world = vote()
    world.answer = failing("B")
    _, output = world.run()
    assert output.status == "partial"
    assert "B" not in [message.content[0] for message in world.asked[-1].asked.messages[2:4]]
    assert output.output[1].error is not None
    world.item, world.asked, world.answer = vote().item, [], failing("B", "C")
    _, output = world.run()
    assert (output.status, len(world.asked)) == ("error", 3)
    assert output.notes is not None
    assert (output.notes[0].code, "more than half" in output.notes[0].detail) == ("no_quorum", True)


def test_maj_5_the_consensus_has_the_last_agents_model_unless_the_spec_names_another() -> None:
    world = vote()
    world.run()
    request = world.asked[-1].asked
    assert (request.model, request.max_tokens, request.temperature) == ("mc", 9, 0.0)
    lead = {"agent_name": "Chair", "model_name": "mx", "system_prompt": "You chair.", "max_tokens": 5, "temperature": 1}
    world = vote(lead=lead)
    _, output = world.run()
    request = world.asked[-1].asked
    assert (request.model, request.max_tokens, request.temperature) == ("mx", 5, 1.0)
    assert (request.messages[0].content, output.output[-1].role) == ("You chair.", "Chair")


def test_an_agent_may_bear_the_name_of_the_consensus() -> None:
    _, output = vote(agents=[agent("Consensus-Agent"), agent("B")]).run()
    assert [message.role for message in output.output] == ["Consensus-Agent", "B", "Consensus-Agent 2"]


def test_a_lead_without_a_word_to_say_is_refused() -> None:
    with pytest.raises(InvalidError, match="lead: with voting exact"):
        admit(vote(voting="exact", lead={"model_name": "m"}).item.spec)


def test_a_failed_consensus_is_an_error_that_keeps_the_votes() -> None:
    world = vote()
    world.answer = lambda call: _fails(call) if call.name == "Consensus-Agent" else out(call)
    _, output = world.run()
    assert (output.status, len(output.output)) == ("error", 4)


def _fails(call: Call) -> Any:
    return failing(call.name)(call)
