"""GroupChat: the acceptance cases GRP-1 to GRP-5."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orca_engine.program import admit, calls_at_most
from orca_engine.swarms.group_chat import END_OF_CHAT
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, prompt, saying

ABC = [agent("A"), agent("B"), agent("C")]


def chat(**fields: Any) -> World:
    return World(item_of(**{"swarm_type": "GroupChat", "agents": ABC, **fields}))


def bidding(scores: dict[str, Any], **fields: Any) -> World:
    world = chat(speaker_selection="bidding", **fields)
    world.answer = lambda call: saying(
        call, json.dumps({"score": scores[call.name], "message": f"{call.name} at {call.path.loop}"})
    )
    return world


def test_grp_1_everybody_speaks_once_in_order_and_reads_what_was_said() -> None:
    world = chat()
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"]
    assert world.most_open == 1
    assert "A: out(A,1.0.0.0.0)" in prompt(world.asked[1])
    assert [message.role for message in output.output] == ["A", "B", "C"]


def test_grp_2_later_turns_read_all_earlier_text_once_and_their_own_as_assistant() -> None:
    world = chat(max_loops=3)
    world.run()
    assert len(world.asked) == 9
    earlier = [f"out({name},{loop}.{step}.0.0.0)" for loop in (1, 2) for step, name in enumerate("ABC")]
    last = world.asked[6]
    assert all(prompt(last).count(text) == 1 for text in earlier)
    assert [message.content for message in last.asked.messages if message.role == "assistant"] == [earlier[0], earlier[3]]


def test_grp_2_the_end_marker_ends_the_chat() -> None:
    world = chat(max_loops=3)
    world.answer = lambda call: saying(call, f"Done. {END_OF_CHAT}\n") if call.path[:2] == (2, 1) else out(call)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C", "A", "B"]
    assert output.status == "success"
    assert END_OF_CHAT in prompt(world.asked[0])


def test_grp_3_one_agent_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        admit(chat(agents=ABC[:1]).item.spec)
    assert (caught.value.code, caught.value.detail) == ("agents_too_few", "agents: GroupChat needs at least 2 agents, not 1")


def test_grp_4_when_nobody_bids_enough_the_chat_ends_and_says_why() -> None:
    world = bidding({"A": 0.1, "B": 0.2, "C": 0.3}, max_loops=4)
    _, output = world.run()
    assert (len(world.asked), world.most_open) == (3, 3)
    assert (output.output, output.status) == ((), "error")
    assert output.notes is not None
    assert output.notes[0].code == "nobody_spoke"


def test_grp_5_speakers_of_equal_bids_alternate() -> None:
    world = bidding({"A": 0.8, "B": 0.8, "C": 0.8}, max_loops=3)
    _, output = world.run()
    assert len(world.asked) == 9
    assert calls_at_most(world.item.spec) == 18
    assert [message.content for message in output.output] == ["A at 1", "B at 2", "A at 3"]
    assert "A: A at 1" in prompt(world.asked[4])
    assert "B at 1" not in prompt(world.asked[3])


@pytest.mark.parametrize("score", ["0.9", True, 1.5, -1, None])
def test_a_bid_that_cannot_be_read_is_repaired_once_and_then_an_error(score: Any) -> None:
    world = bidding({"A": score, "B": 0.9, "C": 0.1})
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C", "A"]
    assert "answer.score must be" in prompt(world.asked[3])
    assert [(message.role, message.content) for message in output.output] == [("A", None), ("B", "B at 1")]
    assert output.output[0].error is not None
    assert output.output[0].error.code == "decision_unreadable"
    assert output.status == "partial"


def test_name_and_purpose_of_the_chat_are_told() -> None:
    world = chat(name="Council", description="to settle it")
    world.run()
    assert "“Council” of A, B, C. Its purpose: to settle it You are A." in prompt(world.asked[0])


def test_who_fails_misses_a_turn_and_a_silent_round_ends_the_chat() -> None:
    world = chat(max_loops=2)
    world.answer = failing("B")
    _, output = world.run()
    assert ([call.name for call in world.asked], output.status) == (["A", "B", "C"] * 2, "partial")
    world = chat(max_loops=2)
    world.answer = failing("A", "B", "C")
    _, output = world.run()
    assert (len(world.asked), output.status) == (3, "error")


def test_a_bid_that_would_win_with_nothing_to_say_is_pointed_out_and_one_that_would_not_is_fine() -> None:
    said = {"A": (1, ""), "B": (0.1, " "), "C": (0.6, "C speaks")}
    world = chat(speaker_selection="bidding")
    world.answer = lambda call: saying(call, json.dumps(dict(zip(("score", "message"), said[call.name], strict=True))))
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C", "A"]
    assert "answer.message must not be blank" in prompt(world.asked[3])
    assert [(message.role, message.content) for message in output.output] == [("A", None), ("C", "C speaks")]
