"""Preparation: the image is fetched once for all runs of an item and reaches every type's agents with the task (API-7)."""

from __future__ import annotations

import pytest

from orca_engine.swarms import SWARMS
from orca_protocol.model import Failure, ModelRequest
from orca_protocol.world import ImageRequest
from tests.unit.orca_engine.worlds import IMAGE, World, agent, deciding, item_of, out, saying, spec_of

URL = "https://example.org/a.png"


@pytest.mark.parametrize("name", SWARMS)
def test_api_7_the_image_reaches_the_agents_of_every_type_beside_the_task(name: str) -> None:
    item = item_of(**spec_of(name, [agent("A"), agent("B"), agent("C")], img=URL))
    world = World(item, answer=deciding(item))
    world.run()
    assert [call.path for call in world.asked if isinstance(call.request, ImageRequest)] == [(0, 0, 0, 0, 2)]
    asked = [call.asked for call in world.asked if isinstance(call.request, ModelRequest)]
    shown = [[message for message in request.messages if message.images is not None] for request in asked]
    assert shown
    assert all(len(messages) == 1 for messages in shown)
    assert all(message.images == (IMAGE.image,) and message.role == "user" for (message,) in shown)


def test_a_run_of_each_task_shares_the_one_image() -> None:
    world = World(item_of(agents=[agent("A")], img=URL, task=None, tasks=["T1", "T2"]))
    world.run()
    assert [type(call.request) for call in world.asked] == [ImageRequest, ModelRequest, ModelRequest]


def test_the_image_stands_with_what_the_user_said_last_not_with_what_a_tool_returned() -> None:
    before = [
        {"role": "user", "content": "Book what you see."},
        {"role": "assistant", "tool_calls": [{"id": "c1", "name": "book", "arguments": "{}"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "booked"},
    ]
    world = World(item_of(agents=[agent("A")], img=URL, messages=before, task=None))
    world.run()
    shown = [(message.role, message.images) for message in world.asked[-1].asked.messages]
    assert shown == [("system", None), ("user", (IMAGE.image,)), ("assistant", None), ("tool", None)]


def test_without_the_image_nobody_speaks_and_the_run_says_why() -> None:
    world = World(item_of(agents=[agent("A"), agent("B", auto_generate_prompt=True)], swarm_type="ConcurrentWorkflow", img=URL))
    refused = Failure(code="image_refused", detail="a private address")
    world.answer = lambda call: refused if isinstance(call.request, ImageRequest) else out(call)
    _, output = world.run()
    assert (output.status, [message.error for message in output.output]) == ("error", [refused, refused])


@pytest.mark.parametrize("written", ["", " \n"])
def test_a_prompt_that_says_nothing_does_not_take_the_place_of_the_agents_own(written: str) -> None:
    world = World(item_of(agents=[agent("A", auto_generate_prompt=True), agent("B")], swarm_type="ConcurrentWorkflow"))
    world.answer = lambda call: saying(call, written) if call.path.loop == 0 else out(call)
    _, output = world.run()
    assert [call.name for call in world.asked] == ["A", "B"]
    assert (output.status, output.output[0].error and output.output[0].error.code) == ("partial", "prompt_empty")
