"""ConcurrentWorkflow: the acceptance cases CON-1, CON-4 to CON-6 (CON-3 is the bench's, CON-7 the live driver's)."""

from __future__ import annotations

from tests.unit.orca_engine.worlds import World, agent, failing, item_of, run

ABC = [agent("A"), agent("B"), agent("C")]


def at_once(**fields: object) -> World:
    return World(item_of(swarm_type="ConcurrentWorkflow", **fields))


def prompt(world: World, call: int) -> str:
    return " ".join(message.content for message in world.asked[call].asked.messages)


def test_con_1_all_are_asked_at_once_and_see_only_the_task() -> None:
    world = at_once(agents=ABC)
    _, output = world.run()
    assert len(world.asked) == world.most_open == 3
    assert all("TASK" in prompt(world, call) and "out(" not in prompt(world, call) for call in range(3))
    assert [message.role for message in output.output] == ["A", "B", "C"]


def test_con_1_output_stands_in_listed_order_whoever_answered_first() -> None:
    _, output = run(item_of(swarm_type="ConcurrentWorkflow", agents=ABC), order=lambda calls: len(calls) - 1)
    assert [message.role for message in output.output] == ["A", "B", "C"]


def test_con_4_a_failed_agent_leaves_the_others_and_the_run_is_partial() -> None:
    world = at_once(agents=ABC)
    world.answer = failing("B")
    _, output = world.run()
    assert output.status == "partial"
    assert [message.content is None for message in output.output] == [False, True, False]
    assert output.output[1].error is not None


def test_con_5_rounds_have_a_barrier_and_read_the_rounds_before() -> None:
    world = at_once(agents=ABC, max_loops=3)
    _, output = world.run()
    assert len(world.asked) == 9
    assert world.most_open == 3
    assert [call.path.loop for call in world.asked] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    second = [(message.role, message.content) for message in world.asked[4].asked.messages]
    assert second == [
        ("system", "You are B."),
        ("user", "TASK"),
        ("user", "A: out(A,1.0.0.0.0)"),
        ("assistant", "out(B,1.0.1.0.0)"),
        ("user", "C: out(C,1.0.2.0.0)"),
    ]
    assert len(output.output) == 9


def test_con_5_a_failure_is_never_shown_and_its_agent_is_asked_again() -> None:
    world = at_once(agents=ABC, max_loops=2)
    world.answer = failing("B")
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B", "C", "A", "B", "C"]
    assert "B" not in prompt(world, 3).replace("You are", "")
    assert output.status == "partial"


def test_a_round_in_which_everybody_failed_ends_the_run() -> None:
    world = at_once(agents=ABC, max_loops=5)
    world.answer = failing("A", "B", "C")
    _, output = world.run()
    assert len(world.asked) == 3
    assert output.status == "error"


def test_con_6_one_agent_is_asked_once() -> None:
    world = at_once(agents=ABC[:1])
    world.run()
    assert len(world.asked) == 1


def test_without_history_the_messages_of_the_last_round_are_returned() -> None:
    _, output = run(item_of(swarm_type="ConcurrentWorkflow", agents=ABC, max_loops=2, return_history=False))
    assert [message.content for message in output.output] == ["out(A,2.0.0.0.0)", "out(B,2.0.1.0.0)", "out(C,2.0.2.0.0)"]


def test_a_cancelled_round_is_the_last_one() -> None:
    world = at_once(agents=ABC, max_loops=4)
    world.stop_after = 4
    _, output = world.run()
    assert (output.status, output.stopped) == ("partial", "cancelled")
    assert len(output.output) == 6
