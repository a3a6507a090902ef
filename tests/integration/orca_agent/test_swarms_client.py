"""The Swarms API's own client against the agent, unchanged."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import pytest_asyncio
import swarms_client
from swarms_client import AsyncSwarmsClient

from orca_engine.swarms import SWARMS
from orca_protocol.errors import InvalidError
from orca_protocol.model import ModelRequest
from tests.fakes.scripted_model import agent_of
from tests.integration.orca_agent.conftest import KEY
from tests.integration.orca_agent.talker import Talker
from tests.unit.orca_agent.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(shared: Service) -> Any:
    async with AsyncSwarmsClient(base_url=shared.address, api_key=KEY) as made:
        yield made


def agent(name: str, **fields: Any) -> Any:
    return {"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}", "description": f"does {name}", **fields}


ABC = [agent("A"), agent("B"), agent("C")]


def out(*names: str) -> list[dict[str, str]]:
    """What these agents say when each is asked for the first time."""
    return [{"role": name, "content": f"out({name},1)"} for name in names]


def deciding(decision: Any) -> Any:
    """A model whose leaders decide so, and whose agents answer as always."""
    counts: dict[str, int] = {}

    def reply(model: str, request: ModelRequest) -> str:
        name = agent_of(request)
        counts[name] = counts.get(name, 0) + 1
        return f"out({name},{counts[name]})" if name != "?" else decision if counts[name] == 1 else "the last word"

    return reply


ROUTE = json.dumps({"handoffs": [{"agent_name": "B", "task": None}]})
PLAN = json.dumps({"plan": "P", "orders": [{"agent_name": "C", "task": "T"}]})
TEAM = json.dumps({"swarm_type": "SequentialWorkflow", "agents": [{"agent_name": "X", "system_prompt": "AGENT:X"}]})
CHOICE = json.dumps({"swarm_type": "ConcurrentWorkflow"})


@pytest.mark.parametrize(
    ("swarm_type", "fields", "decision", "roles"),
    [
        ("SequentialWorkflow", {}, None, "ABC"),
        ("ConcurrentWorkflow", {}, None, "ABC"),
        ("AgentRearrange", {"rearrange_flow": "C -> A, B"}, None, "CAB"),
        ("MixtureOfAgents", {}, None, "ABC"),
        ("SpreadSheetSwarm", {}, None, "ABC"),
        ("GroupChat", {}, None, "ABC"),
        ("MajorityVoting", {}, "so be it", ["A", "B", "C", "Consensus-Agent"]),
        ("MultiAgentRouter", {}, ROUTE, "B"),
        ("HiearchicalSwarm", {}, PLAN, ["Director", "C", "Director"]),
        ("HierarchicalSwarm", {}, PLAN, ["Director", "C", "Director"]),
        ("AutoSwarmBuilder", {"agents": [], "extra_body": {"lead": {"model_name": "scripted"}}}, TEAM, "X"),
        ("auto", {}, CHOICE, "ABC"),
        ("CouncilAsAJudge", {"agents": None, "extra_body": {"council_judge_model_name": "scripted"}}, "good", None),
    ],
)
async def test_every_type_of_the_client_runs(
    client: AsyncSwarmsClient, talker: Talker, swarm_type: Any, fields: dict[str, Any], decision: Any, roles: Any
) -> None:
    talker.reply = None if decision is None else deciding(decision)
    answer: Any = await client.swarms.run(**{"name": "N", "swarm_type": swarm_type, "task": "TASK", "agents": ABC, **fields})
    assert (answer["status"], answer["swarm_type"], answer["swarm_name"]) == ("success", swarm_type, "N")
    said = [message["role"] for message in answer["output"]]
    assert said == list(roles) if roles is not None else len(said) == 7


async def test_api_1_the_answer_has_the_apis_shape_and_the_providers_own_figures(client: AsyncSwarmsClient) -> None:
    """API-1, API-12: ``usage`` is the sum of what was reported; what is not known is null, never an estimate."""
    agents = [agent("A")]
    answer: Any = await client.swarms.run(swarm_type="ConcurrentWorkflow", task="one two three", agents=agents, description="D")
    assert answer["output"] == out("A")
    assert (answer["number_of_agents"], answer["description"], answer["task"]) == (1, "D", "one two three")
    assert answer["job_id"]
    assert answer["execution_time"] > 0
    usage = answer["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (4, 1, 5)
    assert usage["billing_info"] == {
        "cost_breakdown": {
            "agent_cost": None,
            "input_token_cost": None,
            "output_token_cost": None,
            "token_counts": {"total_input_tokens": 4, "total_output_tokens": 1, "total_tokens": 5},
            "num_agents": 1,
            "night_time_discount_applied": False,
        },
        "total_cost": None,
        "discount_active": False,
        "discount_type": "none",
        "discount_percentage": 0,
    }


async def ask(client: AsyncSwarmsClient, **fields: Any) -> Any:
    return await client.swarms.run(
        **{"task": "TASK", "swarm_type": "SequentialWorkflow", "agents": [agent("A"), agent("B")], **fields}
    )


def prompts(talker: Talker, name: str) -> list[tuple[str, str]]:
    """What an agent was shown at its last call."""
    request = next(call.request for call in reversed(talker.calls) if call.agent == name)
    return [(message.role, message.content) for message in request.messages]


async def test_max_loops_of_a_swarm(client: AsyncSwarmsClient) -> None:
    assert [message["role"] for message in (await ask(client, max_loops=2))["output"]] == ["A", "B", "A", "B"]


async def test_api_5_rules_reach_every_agent(client: AsyncSwarmsClient, talker: Talker) -> None:
    await ask(client, rules="Never lie.")
    assert all("Never lie." in prompts(talker, name)[0][1] for name in "AB")


async def test_api_4_return_history(client: AsyncSwarmsClient) -> None:
    assert (await ask(client, return_history=False))["output"] == out("B")
    assert (await ask(client, return_history=True))["output"] == [
        {"role": "A", "content": "out(A,2)"},
        {"role": "B", "content": "out(B,2)"},
    ]


async def test_api_8_tasks_are_one_output_each(client: AsyncSwarmsClient, talker: Talker) -> None:
    answer = await ask(client, task=None, tasks=["first", "second"])
    assert answer["tasks"] == ["first", "second"]
    assert answer["output"] == [
        [{"role": "A", "content": "out(A,1)"}, {"role": "B", "content": "out(B,1)"}],
        [{"role": "A", "content": "out(A,2)"}, {"role": "B", "content": "out(B,2)"}],
    ]
    assert not any("first" in content for _, content in prompts(talker, "A"))


async def test_a_table_of_tasks_stays_a_table(client: AsyncSwarmsClient, talker: Talker) -> None:
    answer = await ask(client, task=None, tasks=["first", "second"], swarm_type="SpreadSheetSwarm")
    assert [(row["role"], row["task"]) for row in answer["output"]] == [("A", 0), ("B", 1)]
    assert ("user", "second") in prompts(talker, "B")


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        (
            [{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."}],
            [("user", "One."), ("assistant", "Two.")],
        ),
        ({"role": "user", "content": "One."}, [("user", "One.")]),
        (
            {"b": {"role": "user", "content": "One."}, "a": {"role": "user", "content": "Two."}},
            [("user", "One."), ("user", "Two.")],
        ),
    ],
)
async def test_api_9_messages_stand_before_the_task(client: AsyncSwarmsClient, talker: Talker, messages: Any, shown: Any) -> None:
    await ask(client, messages=messages)
    assert prompts(talker, "A")[1:] == [*shown, ("user", "TASK")]


async def test_a_description_is_shown_to_who_chooses(client: AsyncSwarmsClient, talker: Talker) -> None:
    talker.reply = deciding(ROUTE)
    await ask(client, swarm_type="MultiAgentRouter")
    assert any("does B" in content for _, content in prompts(talker, "?"))


async def test_the_models_of_leaders_have_their_old_names(client: AsyncSwarmsClient, talker: Talker) -> None:
    talker.reply = deciding(PLAN.replace('"C"', '"B"'))
    agents = [agent("A", model_name="alias"), agent("B", model_name="alias")]
    await ask(client, agents=agents, swarm_type="HiearchicalSwarm", extra_body={"director_model_name": "scripted"})
    assert {call.request.model for call in talker.calls if call.agent == "?"} == {"scripted"}
    with pytest.raises(swarms_client.BadRequestError, match="it is for HierarchicalSwarm"):
        await ask(client, extra_body={"director_model_name": "scripted"})


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 0.2}, {"temperature": 0.2}),
        ({}, {"temperature": 0.5, "max_tokens": 8192}),
        ({"max_tokens": 12}, {"max_tokens": 12}),
        ({"model_name": "alias"}, {"model": "alias"}),
    ],
)
async def test_api_6_settings_of_an_agent_reach_the_model(
    client: AsyncSwarmsClient, talker: Talker, fields: dict[str, Any], seen: dict[str, Any]
) -> None:
    await ask(client, agents=[agent("A", **fields)])
    assert talker.calls[0].request.model_dump(include=set(seen)) == seen


async def test_role_and_prompt_reach_the_model(client: AsyncSwarmsClient, talker: Talker) -> None:
    await ask(client, agents=[agent("A", role="critic")])
    assert prompts(talker, "A")[0] == ("system", "AGENT:A\n\nYour role: critic")


async def test_max_loops_of_an_agent(client: AsyncSwarmsClient, talker: Talker) -> None:
    assert (await ask(client, agents=[agent("A", max_loops=3)]))["output"] == [{"role": "A", "content": "out(A,3)"}]
    assert len(talker.calls) == 3


async def test_a_prompt_is_written_where_that_is_wanted(client: AsyncSwarmsClient, talker: Talker) -> None:
    await ask(client, agents=[agent("A", auto_generate_prompt=True)])
    assert len(talker.calls) == 2


async def test_null_is_absent(client: AsyncSwarmsClient) -> None:
    absent: dict[str, Any] = {"max_loops": None, "rules": None, "return_history": None, "stream": None, "service_tier": None}
    agents = [agent("A", max_tokens=None, temperature=None, role=None, mcp_url=None, tools_list_dictionary=None, streaming_on=None)]
    assert (await ask(client, agents=agents, **absent))["output"] == out("A")


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"service_tier": "flex"}, "field_unsupported", "service_tier"),
        ({"extra_body": {"list_all_agents": True}}, "field_unsupported", "list_all_agents"),
        ({"agents": [agent("A", mcp_config={"url": "http://x"})]}, "field_unsupported", "agents[0].mcp_config"),
        (
            {"agents": [agent("A"), agent("B", tools_dictionary=[{"a": 1}])]},
            "field_unsupported",
            "agents[1].tools_dictionary",
        ),
        ({"agents": [agent("A", streaming_on=True)]}, "field_unsupported", "stream: true"),
        ({"agents": [agent("A", dynamic_temperature_enabled=True)]}, "field_unsupported", "dynamic_temperature_enabled"),
        ({"swarm_type": "MALT"}, "schema", "ConcurrentWorkflow"),
        ({"swarm_type": "AgentRearrange"}, "flow_missing", "rearrange_flow"),
        ({"swarm_type": "AgentRearrange", "rearrange_flow": "A -> Q"}, "flow_agent_unknown", "A, B"),
        ({"swarm_type": "MixtureOfAgents", "agents": [agent("A")]}, "agents_too_few", "agents"),
        ({"max_loops": 0}, "schema", "max_loops"),
        ({"max_loops": "2"}, "schema", "max_loops"),
        ({"name": "x" * 101}, "schema", "name"),
        ({"task": None}, "schema", "task"),
        ({"stream": "yes"}, "schema", "stream"),
        ({"agents": []}, "no_agents", "agents"),
        ({"agents": [agent("A", model_name="gpt-9")]}, "model_unavailable", "scripted"),
        ({"extra_body": {"colour": "red"}}, "schema", "colour"),
    ],
)
async def test_api_2_and_3_what_is_wrong_is_named_before_any_call(
    client: AsyncSwarmsClient, talker: Talker, fields: dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(swarms_client.BadRequestError) as caught:
        await ask(client, **fields)
    document: Any = caught.value.body
    assert (document["code"], named in document["detail"]) == (code, True), document
    assert talker.calls == []


async def test_a_stranger_is_not_let_in(shared: Service) -> None:
    async with AsyncSwarmsClient(base_url=shared.address, api_key="wrong") as stranger:
        with pytest.raises(swarms_client.AuthenticationError):
            await ask(stranger)


async def test_a_failed_swarm_is_an_error_and_is_not_paid_for_again(client: AsyncSwarmsClient, talker: Talker) -> None:
    talker.failures["A"] = [InvalidError("bad_request", "no")] * 9
    with pytest.raises(swarms_client.InternalServerError) as caught:
        await ask(client, agents=[agent("A")])
    document: Any = caught.value.body
    assert (document["code"], document["response"]["status"]) == ("run_error", "error")
    assert len(talker.calls) == 1, "a client repeats a 502 unless it is told that it is no use"


async def test_api_16_a_swarm_is_watched_while_it_runs(client: AsyncSwarmsClient, talker: Talker) -> None:
    a, b = asyncio.Event(), asyncio.Event()
    talker.scripts = [["a1 ", a, "a2"], ["b1 ", b, "b2"]]
    fields: Any = {"agents": ABC, "swarm_type": "AgentRearrange", "rearrange_flow": "A, B -> C", "stream": True, "task": "TASK"}
    told: list[tuple[str, Any]] = []
    async with client.swarms.with_streaming_response.run(**fields) as answer:
        kind = ""
        async for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                told.append((kind, json.loads(value)))
                if told[-1][0] == "chunk" and len([1 for kind, _ in told if kind == "chunk"]) == 2:
                    a.set()
                    b.set()
    kinds = [kind for kind, _ in told]
    assert kinds[:2] == ["metadata", "start"]
    assert kinds[-2:] == ["usage", "end"]
    assert told[0][1]["number_of_agents"] == 3
    spoke = [(kind, data["agent"]) for kind, data in told if kind.startswith(("agent", "chunk"))]
    assert [name for kind, name in spoke if kind == "chunk"][:4] in (["A", "B", "A", "B"], ["A", "B", "B", "A"])
    assert spoke.index(("agent_start", "C")) > max(spoke.index(("agent_end", name)) for name in "AB")
    end = told[-1][1]
    assert end["status"] == "success"
    assert [message["content"] for message in end["output"]] == ["a1 a2", "b1 b2", "out(C,1)"]
    assert told[-2][1] == end["usage"]


async def test_what_fails_before_anything_is_streamed_is_an_error(client: AsyncSwarmsClient) -> None:
    with pytest.raises(swarms_client.BadRequestError):
        await ask(client, stream=True, agents=[agent("A", model_name="gpt-9")])


async def test_api_10_a_batch_is_answered_in_its_order_and_one_bad_member_spoils_nothing(
    client: AsyncSwarmsClient, talker: Talker
) -> None:
    talker.gate = asyncio.Barrier(4)  # members run side by side, or nobody is answered
    spec = {"swarm_type": "ConcurrentWorkflow", "task": "TASK"}
    good = {**spec, "name": "first", "agents": [agent("A"), agent("B")]}
    talker.failures["C"] = [InvalidError("bad_request", "no")]
    bad = {**spec, "name": "second", "agents": [agent("A")], "swarm_type": "Quartet"}
    failing = {**spec, "name": "third", "agents": [agent("C")]}
    last = {**spec, "name": "fourth", "agents": [agent("D")]}
    body: Any = [good, bad, failing, last]
    async with asyncio.timeout(20):
        rows: Any = await client.swarms.batch.run(body=body)
    assert [(row["status"], row["swarm_name"]) for row in rows] == [
        ("success", "first"),
        ("error", "second"),
        ("error", "third"),
        ("success", "fourth"),
    ]
    assert rows[0]["result"] == out("A", "B")
    assert rows[0]["usage"]["output_tokens"] == 2
    assert "ConcurrentWorkflow" in rows[1]["detail"]
    assert (rows[1]["job_id"], rows[2]["code"]) == (None, "run_error")


@pytest.mark.parametrize("body", [{"name": "no list"}, [], [agent("A"), "no object"], [{}] * 101])
async def test_of_a_batch_that_is_none_nothing_is_run(shared: Service, talker: Talker, body: Any) -> None:
    for path in ("swarm", "agent"):
        answer = await shared.client.post(f"/v1/{path}/batch/completions", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "schema")
    assert talker.calls == []


async def test_a_batch_for_which_there_is_no_room_is_a_rate_limit(
    shared: Service, client: AsyncSwarmsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.services.intake, "_at_most", 0)
    with pytest.raises(swarms_client.RateLimitError):
        await client.with_options(max_retries=0).swarms.batch.run(body=[{"task": "T", "agents": [agent("A")]}])


async def test_the_same_batch_under_the_same_key_is_run_once(client: AsyncSwarmsClient, talker: Talker) -> None:
    sent: Any = {"body": [{"agent_config": agent("A"), "task": "T"}], "extra_headers": {"Idempotency-Key": "of-a-batch"}}
    first: Any = await client.agent.batch.run(**sent)
    second: Any = await client.agent.batch.run(**sent)
    assert (first["batch_id"], first["results"]) == (second["batch_id"], second["results"])
    assert len(talker.calls) == 1


async def test_one_agent_answers_with_its_history_before_it(client: AsyncSwarmsClient, talker: Talker) -> None:
    answer: Any = await client.agent.run(
        agent_config=agent("A", temperature=0.25),
        task="T",
        history=[{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two."}],
    )
    assert prompts(talker, "A")[1:] == [("user", "One."), ("assistant", "Two."), ("user", "T")]
    assert (answer["success"], answer["name"], answer["description"], answer["temperature"]) == (True, "A", "does A", 0.25)
    assert answer["outputs"] == out("A")
    assert answer["usage"]["output_tokens"] == 1
    assert answer["usage"]["total_cost"] is None
    assert answer["timestamp"].endswith("Z")


async def test_api_7_an_image_reaches_the_model(client: AsyncSwarmsClient, talker: Talker) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    answer: Any = await client.agent.run(agent_config=agent("A"), task="T", img=f"data:image/png;base64,{pixel}")
    assert answer["success"] is True
    assert list(talker.images[0].values()) == [base64.b64decode(pixel)]


async def test_a_function_reaches_the_model(client: AsyncSwarmsClient, talker: Talker) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "description": "the weather"}}
    await ask(client, agents=[agent("A", tools_list_dictionary=[tool])])
    tools = talker.calls[0].request.tools
    assert tools is not None
    assert [tool.name for tool in tools] == ["weather"]


@pytest.mark.parametrize("history", [{"role": "user", "content": "One."}, {"m1": {"role": "user", "content": "One."}}])
async def test_a_history_may_be_an_object_and_stand_for_the_task(client: AsyncSwarmsClient, talker: Talker, history: Any) -> None:
    await client.agent.run(agent_config=agent("A"), history=history)
    assert prompts(talker, "A")[1:] == [("user", "One.")]


async def test_one_agent_is_watched_while_it_runs(client: AsyncSwarmsClient) -> None:
    for fields in ({"stream": True}, {"agent_config": agent("A", streaming_on=True)}):
        sent: Any = {"agent_config": agent("A"), "task": "T", **fields}
        async with client.agent.with_streaming_response.run(**sent) as answer:
            lines = [line async for line in answer.iter_lines()]
        assert json.loads(lines[-2].removeprefix("data: "))["success"] is True, lines


@pytest.mark.parametrize(("field", "value"), [("imgs", ["x"]), ("tools_enabled", ["search"])])
async def test_what_an_agent_cannot_be_given_is_refused(client: AsyncSwarmsClient, talker: Talker, field: str, value: Any) -> None:
    with pytest.raises(swarms_client.BadRequestError, match=f"field_unsupported.*{field}|{field}.*field_unsupported"):
        await client.agent.run(agent_config=agent("A"), task="T", extra_body={field: value})
    assert talker.calls == []


async def test_a_batch_of_agents(client: AsyncSwarmsClient) -> None:
    body: Any = [{"agent_config": agent("A"), "task": "T"}, {"agent_config": agent("B")}, {"agent_config": agent("C"), "task": "T"}]
    answer: Any = await client.agent.batch.run(body=body)
    assert (answer["total_requests"], len(answer["results"])) == (3, 3)
    assert answer["batch_id"]
    assert answer["execution_time"] > 0
    first, second, third = answer["results"]
    assert (first["outputs"], third["outputs"]) == (out("A"), out("C"))
    assert (second["success"], second["name"], second["code"]) == (False, "B", "schema")
    with pytest.raises(swarms_client.BadRequestError, match="1 to 10"):
        await client.agent.batch.run(body=body[:1] * 11)


async def test_what_there_is_is_listed(client: AsyncSwarmsClient) -> None:
    types: Any = await client.swarms.check_available()
    assert types == {"success": True, "swarm_types": list(SWARMS)}
    models: Any = await client.models.list_available()
    assert (models["success"], models["models"], models["count"]) == (True, ["scripted", "alias"], 2)
    health: Any = await client.health.check()
    assert health["status"] == "ready"


async def test_logs_are_counted_paged_and_hold_nothing_that_was_said(shared: Service, client: AsyncSwarmsClient) -> None:
    before: Any = await client.swarms.get_logs()
    jobs = [(await ask(client, task=f"the secret of {number}"))["job_id"] for number in range(3)]
    logs: Any = await client.swarms.get_logs()
    assert (logs["status"], logs["count"]) == ("success", before["count"] + 3)
    assert [log["id"] for log in logs["logs"][:3]] == jobs[::-1]
    assert logs["logs"][0]["status"] == "success"
    assert not any(word in json.dumps(logs) for word in ("secret", KEY, "AGENT"))
    page: Any = await client.swarms.get_logs(extra_query={"limit": 2})
    rest: Any = await client.swarms.get_logs(extra_query={"limit": 1, "after": page["after"]})
    assert [log["id"] for log in [*page["logs"], *rest["logs"]]] == jobs[::-1]
    for query in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "x"}):
        assert (await shared.client.get("/v1/swarm/logs", params=query)).status_code == 400
