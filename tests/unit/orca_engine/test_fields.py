"""No field is accepted and ignored: two specs that differ in one field alone differ in what is asked, said, allowed or refused.

A table over the fields of every part of a spec: a new field without a row fails, and so does a row without its field.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from orca_engine.bounds import ceilings_of
from orca_protocol.budget import Budget
from orca_protocol.conversation import ChatTurn
from orca_protocol.errors import InvalidError
from orca_protocol.model import ToolDefinition
from orca_protocol.spec import (
    AgentSpec,
    Condition,
    EdgeSpec,
    FunctionTool,
    LeadSpec,
    NodeSpec,
    ScheduleSpec,
    SwarmSpec,
)
from tests.house.repository import ROOT
from tests.unit.orca_engine.worlds import LEAD, World, agent, deciding, item_of

Spec = dict[str, Any]
KINDS = (
    SwarmSpec,
    AgentSpec,
    LeadSpec,
    NodeSpec,
    EdgeSpec,
    Condition,
    Budget,
    ScheduleSpec,
    ChatTurn,
    FunctionTool,
    ToolDefinition,
)


def swarm(kind: str = "SequentialWorkflow", **fields: Any) -> Spec:
    return {"swarm_type": kind, "agents": [agent("A"), agent("B")], **fields}


def of_agent(**fields: Any) -> Spec:
    return swarm(agents=[agent("A", **fields), agent("B")])


def led(kind: str = "MajorityVoting", **fields: Any) -> Spec:
    return swarm(kind, lead={**LEAD, **fields})


def graph(edge: Spec | None = None, **fields: Any) -> Spec:
    return swarm("GraphWorkflow", **{"edges": [{"source": "A", "target": "B", **(edge or {})}], **fields})


def nodes(*places: tuple[str, str]) -> Spec:
    return graph(nodes=[{"name": n, "agent_name": who} for n, who in places], edges=[{"source": "one", "target": "two"}])


def tool(name: str = "book", **fields: Any) -> Spec:
    return of_agent(tools_list_dictionary=[{"type": "function", "function": {"name": name, **fields}}])


def called(results: tuple[str, str] = ("c1", "c2"), arguments: str = "{}") -> Spec:
    calls = [{"id": name, "name": "book", "arguments": arguments} for name in ("c1", "c2")]
    returned = [{"role": "tool", "tool_call_id": name, "content": "done"} for name in results]
    return swarm(messages=[{"role": "user", "content": "ONE"}, {"role": "assistant", "tool_calls": calls}, *returned])


PAIRS: dict[type[Any], dict[str, tuple[Spec, Spec]]] = {
    SwarmSpec: {
        "agents": (swarm(), swarm(agents=[agent("A")])),
        "max_loops": (swarm(), swarm(max_loops=2)),
        "swarm_type": (swarm(), swarm("ConcurrentWorkflow")),
        "rearrange_flow": (swarm("AgentRearrange", rearrange_flow="A -> B"), swarm("AgentRearrange", rearrange_flow="B -> A")),
        "task": (swarm(), swarm(task="another")),
        "tasks": (swarm(task=None, tasks=["T1"]), swarm(task=None, tasks=["T1", "T2"])),
        "messages": (swarm(), swarm(messages=[{"role": "user", "content": "BEFORE"}])),
        "img": (swarm(), swarm(img="https://example.org/a.png")),
        "return_history": (swarm(), swarm(return_history=False)),
        "rules": (swarm(), swarm(rules="Be brief.")),
        "budget": (swarm(), swarm(budget={"calls": 1})),
        "lead": (swarm("MajorityVoting"), led()),
        "voting": (swarm("MajorityVoting"), swarm("MajorityVoting", voting="exact")),
        "speaker_selection": (swarm("GroupChat"), swarm("GroupChat", speaker_selection="bidding")),
        "synthesis": (swarm("HierarchicalSwarm"), swarm("HierarchicalSwarm", synthesis=False)),
        "plan_max": (swarm("PlannerWorkerSwarm"), swarm("PlannerWorkerSwarm", plan_max=1)),
        "allowed_models": (
            swarm("AutoSwarmBuilder", agents=[], lead=LEAD),
            swarm("AutoSwarmBuilder", agents=[], lead=LEAD, allowed_models=["small"]),
        ),
        "nodes": (graph(), graph(nodes=[{"name": "A", "agent_name": "B"}, {"name": "B", "agent_name": "A"}])),
        "edges": (graph(), graph({"source": "B", "target": "A"})),
    },
    AgentSpec: {
        "agent_name": (swarm(), swarm(agents=[agent("Z", system_prompt="You are A."), agent("B")])),
        "description": (swarm("MultiAgentRouter"), swarm("MultiAgentRouter", agents=[agent("A", description="sums"), agent("B")])),
        "system_prompt": (swarm(), of_agent(system_prompt="Another.")),
        "model_name": (swarm(), of_agent(model_name="other")),
        "auto_generate_prompt": (swarm(), of_agent(auto_generate_prompt=True)),
        "max_tokens": (swarm(), of_agent(max_tokens=9)),
        "temperature": (swarm(), of_agent(temperature=0)),
        "role": (swarm(), of_agent(role="critic")),
        "max_loops": (swarm(), of_agent(max_loops=2)),
        "tools_list_dictionary": (swarm(), tool()),
        "mcp_servers": (swarm(), of_agent(mcp_servers=["files"])),
        "mcp_url": (swarm(), of_agent(mcp_url="files")),
        "selected_tools": (of_agent(mcp_servers=["files"]), of_agent(mcp_servers=["files"], selected_tools=["read"])),
        "max_tool_rounds": (of_agent(mcp_servers=["files"]), of_agent(mcp_servers=["files"], max_tool_rounds=1)),
        "response_schema": (swarm(), of_agent(response_schema={"type": "object"})),
        "logprobs": (swarm(), of_agent(logprobs=True)),
    },
    LeadSpec: {
        "agent_name": (led(), led(agent_name="Chair")),
        "model_name": (led(), led(model_name="other")),
        "system_prompt": (led(), led(system_prompt="You weigh.")),
        "max_tokens": (led(), led(max_tokens=9)),
        "temperature": (led(), led(temperature=1)),
    },
    NodeSpec: {
        "name": (nodes(("one", "A"), ("two", "B")), nodes(("one", "A"), ("three", "B"))),
        "agent_name": (nodes(("one", "A"), ("two", "B")), nodes(("one", "A"), ("two", "A"))),
    },
    EdgeSpec: {
        "source": (graph(agents=[*map(agent, "ABC")]), graph({"source": "C"}, agents=[*map(agent, "ABC")])),
        "target": (graph(agents=[*map(agent, "ABC")]), graph({"target": "C"}, agents=[*map(agent, "ABC")])),
        "condition": (graph(), graph({"condition": {"contains": "no such words"}})),
    },
    Condition: {
        "contains": (
            graph({"condition": {"contains": "out", "lacks": "-"}}),
            graph({"condition": {"contains": "in vain", "lacks": "-"}}),
        ),
        "lacks": (
            graph({"condition": {"contains": "out", "lacks": "-"}}),
            graph({"condition": {"contains": "out", "lacks": "out"}}),
        ),
    },
    Budget: {
        "calls": (swarm(budget={}), swarm(budget={"calls": 1})),
        "input_tokens": (swarm(budget={}), swarm(budget={"input_tokens": 100})),
        "output_tokens": (swarm(budget={}), swarm(budget={"output_tokens": 8192})),
        "cost": (swarm(budget={}), swarm(budget={"cost": "1"})),
        "seconds": (swarm(budget={}), swarm(budget={"seconds": "1"})),
    },
    ScheduleSpec: {},
    ChatTurn: {
        "role": (
            swarm(messages=[{"role": "user", "content": "ONE"}, {"role": "user", "content": "TWO"}]),
            swarm(messages=[{"role": "user", "content": "ONE"}, {"role": "assistant", "content": "TWO"}]),
        ),
        "content": (
            swarm(messages=[{"role": "user", "content": "ONE"}]),
            swarm(messages=[{"role": "user", "content": "TWO"}]),
        ),
        "tool_calls": (called(arguments="{}"), called(arguments='{"seats": 2}')),
        "tool_call_id": (called(("c1", "c2")), called(("c2", "c1"))),
    },
    FunctionTool: {"function": (tool(), tool("other"))},
    ToolDefinition: {
        "name": (tool(), tool("other")),
        "description": (tool(), tool(description="books a table")),
        "parameters": (tool(), tool(parameters={"type": "object", "required": ["seats"]})),
    },
}

#: what no engine sees, and the test at the edge that does
EDGES: dict[type[Any], dict[str, str]] = {
    SwarmSpec: {
        "name": "orca_agent/work/test_runner.py::test_a_run_answers_in_the_shape_of_the_swarms_api",
        "description": "orca_agent/work/test_runner.py::test_a_run_answers_in_the_shape_of_the_swarms_api",
        "schedule": "orca_agent/work/test_scheduled.py::test_nobody_gets_a_run_before_its_moment_whatever_was_announced",
    },
    ScheduleSpec: {
        "scheduled_time": "orca_agent/work/test_scheduled.py::test_nobody_gets_a_run_before_its_moment_whatever_was_announced",
        "timezone": "orca_time/test_schedule.py::test_a_time_means_a_moment",
    },
}
#: has one value
FIXED: dict[type[Any], set[str]] = {FunctionTool: {"type"}}

ROWS = [
    pytest.param(one, other, id=f"{kind.__name__}.{field}") for kind, rows in PAIRS.items() for field, (one, other) in rows.items()
]


def observed(fields: Spec) -> Any:
    """What can be seen of a spec's run, but for seeds, which differ between any two items; or why there is none."""
    try:
        item = item_of(**fields)
        world = World(item, answer=deciding(item))
        _, output = world.run()
    except InvalidError as error:
        return error.code, error.detail
    asked = [(call.name, call.path, {**call.request.document(), "seed": None}) for call in world.asked]
    return asked, output, ceilings_of(item.spec)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_its_row(kind: type[Any]) -> None:
    rows = [*PAIRS[kind], *EDGES.get(kind, ()), *FIXED.get(kind, ())]
    assert sorted(rows) == sorted(kind.model_fields)


@pytest.mark.parametrize(("one", "other"), ROWS)
def test_a_field_makes_a_difference(one: Spec, other: Spec) -> None:
    assert observed(one) == observed(one)
    assert observed(one) != observed(other)


@pytest.mark.parametrize("named", [named for rows in EDGES.values() for named in rows.values()])
def test_the_tests_at_the_edges_are_there(named: str) -> None:
    file, _, name = named.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / "unit" / file).read_text(), flags=re.MULTILINE)
