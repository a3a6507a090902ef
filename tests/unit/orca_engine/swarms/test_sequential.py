"""SequentialWorkflow: the acceptance cases SEQ-1 to SEQ-5 (wall time of SEQ-6 is measured by the bench)."""

from __future__ import annotations

import pytest

from orca_engine.transcript import GO_ON
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, run, saying

ABC = [agent("A"), agent("B"), agent("C")]


def chain(**fields: object) -> World:
    return World(item_of(swarm_type="SequentialWorkflow", **fields))


def test_seq_1_each_agent_reads_the_task_and_all_earlier_answers() -> None:
    world = chain(agents=ABC)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C"]
    assert world.most_open == 1
    _, second, third = ([message.content for message in call.asked.messages] for call in world.asked)
    assert second == ["You are B.", "TASK", "A: out(A,1.0.0.0.0)"]
    assert third == ["You are C.", "TASK", "A: out(A,1.0.0.0.0)", "B: out(B,1.1.0.0.0)"]
    assert [message.role for message in output.output] == ["A", "B", "C"]
    assert output.status == "success"


def test_seq_2_a_second_pass_shows_an_agent_its_own_answer_as_assistant() -> None:
    world = chain(agents=ABC[:2], max_loops=2)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "A", "B"]
    turns = [(message.role, message.content) for message in world.asked[2].asked.messages]
    assert turns[2:] == [("assistant", "out(A,1.0.0.0.0)"), ("user", "B: out(B,1.1.0.0.0)")]
    assert len(output.output) == 4


def test_seq_3_one_agent_is_asked_once() -> None:
    world = chain(agents=ABC[:1])
    _, output = world.run()
    assert len(world.asked) == len(output.output) == 1


def test_seq_4_a_failed_agent_ends_the_run_and_the_finished_part_is_kept() -> None:
    world = chain(agents=ABC)
    world.answer = failing("B")
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B"]
    assert output.status == "error"
    assert output.output[0].content == "out(A,1.0.0.0.0)"
    assert output.output[1].content is None
    assert output.output[1].error is not None
    assert "B fails" in output.output[1].error.detail


def test_seq_5_of_an_agents_own_loops_only_the_last_answer_is_shared() -> None:
    world = chain(agents=[agent("A", max_loops=3), *ABC[1:]])
    _, output = world.run()
    assert len(world.asked) == 5
    shown = " ".join(message.content for message in world.asked[3].asked.messages)
    assert "out(A,1.0.0.2.0)" in shown
    assert "out(A,1.0.0.0.0)" not in shown
    assert [message.content for message in output.output] == ["out(A,1.0.0.2.0)", "out(B,1.1.0.0.0)", "out(C,1.2.0.0.0)"]


def test_an_agents_own_loops_show_it_its_own_answers_and_end_with_a_user_turn() -> None:
    world = chain(agents=[agent("A", max_loops=3)])
    world.run()
    turns = [(message.role, message.content) for message in world.asked[2].asked.messages]
    assert turns[1:] == [
        ("user", "TASK"),
        ("assistant", "out(A,1.0.0.0.0)"),
        ("user", GO_ON),
        ("assistant", "out(A,1.0.0.1.0)"),
        ("user", GO_ON),
    ]


def test_without_history_only_the_last_message_is_returned() -> None:
    _, output = run(item_of(swarm_type="SequentialWorkflow", agents=ABC, return_history=False))
    assert [message.role for message in output.output] == ["C"]


def test_a_cancelled_chain_is_partial_and_says_why() -> None:
    world = chain(agents=ABC)
    world.stop_after = 1
    _, output = world.run()
    assert (output.status, output.stopped) == ("partial", "cancelled")
    assert output.output[1].error is not None
    assert output.output[1].error.code == "cancelled"
    assert len(output.output) == 2


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_an_answer_that_says_nothing_is_shown_to_nobody(nothing: str) -> None:
    world = chain(agents=[agent("A", max_loops=2), agent("B")], max_loops=2)
    world.answer = lambda call: saying(call, nothing) if call.name == "A" else out(call)
    _, output = world.run()
    assert [message.content for message in output.output] == [nothing, "out(B,1.1.0.0.0)", nothing, "out(B,2.1.0.0.0)"]
    assert all(message.content.strip() for call in world.asked for message in call.asked.messages)
    assert [[message.content for message in call.asked.messages[1:]] for call in world.asked[:3]] == [["TASK"]] * 3
