"""Runs that reach beyond models: tools of a real MCP server and images, journaled, resumed without asking again, replayed."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest
from pydantic import SecretStr

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import STRUCK, Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.images import ImageSettings
from orca_agent.tools.reach import Reach
from orca_agent.work.runner import Finished, Runner
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, journal_bytes, read_journal
from orca_protocol.model import ToolCall
from tests.fakes.scripted_model import ScriptedModel
from tests.unit.orca_agent.tools.mcp_server import TOKEN, Running, running

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as told:
        yield told


class Bench:
    def __init__(self, folder: FilePath, server: Running) -> None:
        self.model = ScriptedModel()
        self.journal = SqliteJournal(folder / "journal.db")
        self.reach = Reach(McpSettings((McpServer("sums", server.url, SecretStr(TOKEN)),)), ImageSettings())

    async def run(self, spec: bytes, *, resume: bool = False) -> Finished:
        secrets = Secrets([SecretStr(TOKEN)])
        runner = Runner(self.journal, Registry([self.model], {}), secrets, reach=self.reach)
        return await runner.run(Item.local(spec), spec, resume=resume)


@pytest.fixture
async def bench(tmp_path: FilePath, server: Running) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, server)
    yield made
    await made.journal.close()


def spec_of(**fields: Any) -> bytes:
    agent = {"agent_name": "A", "model_name": "scripted", "system_prompt": "AGENT:A", **fields.pop("agent", {})}
    return json.dumps({"task": "TASK", "agents": [agent], **fields}).encode()


def add(a: int, b: int) -> tuple[ToolCall, ...]:
    return (ToolCall(id="one", name="add", arguments=json.dumps({"a": a, "b": b})),)


def kinds(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.kind for entry in entries]


async def test_a_tool_is_called_its_result_told_and_all_of_it_journaled(bench: Bench, server: Running) -> None:
    bench.model.tool_calls["A"] = [add(20, 22)]
    finished = await bench.run(spec_of(agent={"mcp_servers": ["sums"], "selected_tools": ["add"]}))
    assert kinds(finished.entries) == ["offer", "answer", "tool", "answer"]
    assert [tool.name for tool in bench.model.calls[0].request.tools or ()] == ["add"]
    assert bench.model.calls[1].request.messages[-1].content == "42"
    assert server.calls[-1] == ("add", {"a": 20, "b": 22})
    assert [attempt.outcome for attempt in finished.entries[2].attempts] == ["answer"]
    assert replay(finished.item, read_journal(journal_bytes(finished.entries))) == finished.output
    assert (finished.output.status, finished.output.usage.calls) == ("success", 2)


async def test_a_run_that_was_cut_off_calls_no_tool_again(bench: Bench, server: Running) -> None:
    bench.model.tool_calls["A"] = [add(1, 1)]
    bench.model.failures["B"] = []
    spec = spec_of(agent={"mcp_servers": ["sums"]})
    finished = await bench.run(spec)
    called = len(server.calls)
    again = await bench.run(spec, resume=True)
    assert (again.output, again.entries, len(server.calls)) == (finished.output, finished.entries, called)


async def test_a_server_that_the_operator_did_not_name_is_refused_before_anything_is_asked(bench: Bench) -> None:
    for named in ({"mcp_servers": ["other"]}, {"mcp_url": "http://127.0.0.1:1/mcp"}):
        with pytest.raises(InvalidError, match=r"mcp_not_admitted.*admitted are: sums"):
            await bench.run(spec_of(agent=named))
    assert not bench.model.calls


async def test_a_secret_that_a_tool_repeats_is_struck_out(bench: Bench, server: Running) -> None:
    bench.model.tool_calls["A"] = [(ToolCall(id="one", name="fail", arguments=json.dumps({"why": f"{TOKEN} was wrong"})),)]
    finished = await bench.run(spec_of(agent={"mcp_servers": ["sums"]}))
    assert TOKEN.encode() not in journal_bytes(finished.entries)
    assert STRUCK in bench.model.calls[-1].request.messages[-1].content


async def test_api_7_the_images_bytes_reach_the_model_also_after_a_restart(bench: Bench) -> None:
    spec = spec_of(img=URI, swarm_type="SequentialWorkflow", max_loops=2)
    finished = await bench.run(spec)
    assert kinds(finished.entries) == ["image", "answer", "answer"]
    (image,) = bench.model.calls[0].request.messages[-1].images or ()
    assert [dict(images) for images in bench.model.images] == [{image.digest: PNG}] * 2
    assert replay(finished.item, read_journal(journal_bytes(finished.entries))) == finished.output


async def test_an_image_that_must_not_be_fetched_ends_the_run_typed(bench: Bench) -> None:
    finished = await bench.run(spec_of(img="http://127.0.0.1:1/a.png"))
    assert (finished.output.status, kinds(finished.entries)) == ("error", ["error"])
    assert finished.output.output[0].error is not None
    assert finished.output.output[0].error.code == "image_address"
    assert not bench.model.calls


async def test_a_loop_of_tools_ends_typed_when_its_rounds_are_up(bench: Bench) -> None:
    bench.model.tool_calls["A"] = [add(number, 1) for number in range(9)]
    finished = await bench.run(spec_of(agent={"mcp_servers": ["sums"], "max_tool_rounds": 2}))
    assert kinds(finished.entries) == ["offer", "answer", "tool", "answer", "tool", "answer"]
    assert_ended(finished, "error", "tool_rounds")


async def test_a_schema_that_is_never_fulfilled_ends_typed_after_one_repair(bench: Bench) -> None:
    finished = await bench.run(spec_of(agent={"response_schema": {"type": "object"}}))
    assert kinds(finished.entries) == ["answer", "answer"]
    assert_ended(finished, "error", "schema_unfulfilled")


async def test_a_budget_that_is_spent_ends_typed_and_nothing_more_is_asked(bench: Bench) -> None:
    finished = await bench.run(spec_of(max_loops=2, budget={"calls": 1}))
    assert (kinds(finished.entries), len(bench.model.calls)) == (["answer"], 1)
    assert finished.output.stopped == "budget"
    assert_ended(finished, "partial", "budget")


async def test_a_server_of_tools_that_is_down_ends_typed_before_any_model_is_asked(bench: Bench) -> None:
    bench.reach = Reach(McpSettings((McpServer("sums", "http://127.0.0.1:1/mcp"),)), ImageSettings())
    finished = await bench.run(spec_of(agent={"mcp_servers": ["sums"]}))
    assert (kinds(finished.entries), bench.model.calls) == (["error"], [])
    assert_ended(finished, "error", "mcp_failed")


def assert_ended(finished: Finished, status: str, code: str) -> None:
    """The last message says why, and the journal alone says so again."""
    error = finished.output.output[-1].error
    assert (finished.output.status, error and error.code) == (status, code)
    assert replay(finished.item, read_journal(journal_bytes(finished.entries))) == finished.output
