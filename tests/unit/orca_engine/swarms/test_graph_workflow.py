"""GraphWorkflow: nodes, edges and conditions."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine.machine import Call
from orca_engine.program import admit, calls_at_most
from orca_protocol.errors import InvalidError
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, out, prompt, saying

ABCD = [agent("A"), agent("B"), agent("C"), agent("D", max_loops=2)]


def edges(*pairs: str, **conditions: Any) -> list[dict[str, Any]]:
    """``edges("AB", AC={"contains": "x"})``."""
    plain = [{"source": pair[0], "target": pair[1]} for pair in pairs]
    return [*plain, *({"source": pair[0], "target": pair[1], "condition": condition} for pair, condition in conditions.items())]


def graph(*pairs: str, agents: Any = ABCD, fields: Any = None, **conditions: Any) -> World:
    given = {"swarm_type": "GraphWorkflow", "agents": agents, "edges": edges(*pairs, **conditions), **(fields or {})}
    return World(item_of(**given))


def test_a_diamond_runs_in_layers_and_each_node_reads_what_it_descends_from() -> None:
    world = graph("AB", "AC", "BD", "CD")
    world.order = lambda calls: len(calls) - 1
    _, output = world.run()
    assert sorted((call.name, call.path[:3]) for call in world.asked)[:3] == [("A", (1, 0, 0)), ("B", (1, 1, 0)), ("C", (1, 1, 1))]
    assert world.most_open == 2
    assert len(world.asked) == calls_at_most(world.item.spec) == 5
    by_name = {call.name: prompt(call) for call in world.asked}
    assert "A: out(A" in by_name["B"]
    assert "out(C" not in by_name["B"]
    assert all(f"{name}: out({name}" in by_name["D"] for name in "ABC")
    assert [message.role for message in output.output] == ["A", "B", "C", "D"]
    assert output.status == "success"


def test_branches_see_nothing_of_each_other() -> None:
    world = graph("AB", "CD")
    world.run()
    by_name = {call.name: prompt(call) for call in world.asked}
    assert "out(A" not in by_name["D"]
    assert "out(C" not in by_name["B"]


def test_a_condition_decides_whether_an_edge_is_open() -> None:
    world = graph(AB={"contains": "approve"}, AC={"lacks": "approve"})
    world.answer = lambda call: saying(call, "I approve") if call.name == "A" else out(call)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "D", "D", "B"]
    assert output.status == "success"
    assert output.notes is not None
    assert [(note.code, note.detail) for note in output.notes] == [("node_skipped", "loop 1: no open edge led to C")]


def test_a_node_runs_if_one_of_its_edges_is_open_and_reads_only_through_those() -> None:
    world = graph("BC", AC={"contains": "never"}, agents=ABCD[:3])
    world.run()
    last = prompt(world.asked[-1])
    assert world.asked[-1].name == "C"
    assert "out(B" in last
    assert "out(A" not in last


def test_a_failure_closes_its_edges() -> None:
    world = graph("AB", "BC", agents=ABCD[:3])
    world.answer = failing("B")
    _, output = world.run()
    assert (output.status, [call.name for call in world.asked]) == ("error", ["A", "B"])
    world = graph("AB", "AC", agents=ABCD[:3])
    world.answer = failing("B")
    _, output = world.run()
    assert output.status == "partial"


def test_nodes_let_one_agent_stand_at_several_places() -> None:
    nodes = [{"name": "draft", "agent_name": "A"}, {"name": "review", "agent_name": "B"}, {"name": "final", "agent_name": "A"}]
    pairs = [{"source": "draft", "target": "review"}, {"source": "review", "target": "final"}]
    world = graph(fields={"nodes": nodes, "edges": pairs})
    world.run()
    assert [call.name for call in world.asked] == ["A", "B", "A"]
    assert len(world.asked) == calls_at_most(world.item.spec)
    assert [message.role for message in world.asked[2].asked.messages] == ["system", "user", "assistant", "user"]


def test_passes_keep_the_transcript_and_the_result_is_what_nobody_read_on() -> None:
    world = graph("AB", "AC", agents=ABCD[:3], fields={"max_loops": 2, "return_history": False})
    _, output = world.run()
    assert len(world.asked) == 6
    assert "C: out(C,1.1.1.0.0)" in prompt(world.asked[3])
    assert [message.content for message in output.output] == ["out(B,2.1.0.0.0)", "out(C,2.1.1.0.0)"]


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"edges": None}, "graph_missing", "edges"),
        ({"edges": edges("AZ")}, "graph_node_unknown", "edges[0].target: no node is named Z; nodes are A, B, C, D"),
        ({"edges": edges("AB", "ZA")}, "graph_node_unknown", "edges[1].source"),
        ({"edges": edges("AB", "AB")}, "graph_edge_twice", "edges[1]"),
        ({"edges": edges("DA", "AB", "BC", "CA")}, "graph_cycle", "edges: nothing can begin among A, B, C"),
        ({"edges": edges("AA")}, "graph_cycle", "A"),
        ({"nodes": [{"name": "n", "agent_name": "Z"}], "edges": []}, "graph_agent_unknown", "nodes[0].agent_name"),
        ({"nodes": [{"name": "n", "agent_name": "A"}] * 2, "edges": []}, "graph_node_twice", "nodes[1].name"),
        ({"agents": [agent(f"A{n}") for n in range(1001)], "edges": []}, "graph_too_large", "nodes"),
    ],
)
def test_a_wrong_graph_is_refused_before_the_first_call(fields: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(InvalidError) as caught:
        admit(graph(fields=fields).item.spec)
    assert caught.value.code == code
    assert says in caught.value.detail


def test_without_edges_everybody_stands_for_itself() -> None:
    world = graph()
    world.run()
    assert world.most_open == 4


def test_a_long_chain_is_ordered_quickly() -> None:
    agents = [agent(f"A{n}") for n in range(1000)]
    chain = [{"source": f"A{n + 1}", "target": f"A{n}"} for n in range(999)]
    admit(graph(agents=agents, fields={"edges": chain}).item.spec)


def test_a_call_of_the_second_pass_that_nobody_answers_is_an_error() -> None:
    def answer(call: Call) -> Any:
        return failing("A")(call) if call.path.loop == 2 else out(call)

    world = graph("AB", agents=ABCD[:2], fields={"max_loops": 2})
    world.answer = answer
    _, output = world.run()
    assert (output.status, len(output.output)) == ("error", 3)
