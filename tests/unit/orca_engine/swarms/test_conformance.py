"""What every swarm type keeps to, over the table; and the pinned journal digest that a change of the engine would change."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine import REVISION
from orca_engine.program import calls_at_most
from orca_engine.replay import replay
from orca_engine.swarms import SWARMS
from orca_protocol.journal import journal_digest
from tests.unit.orca_engine.worlds import World, agent, failing, item_of, run

#: (engine revision, digest of the run below). A new digest needs a new revision: peers replay what they ship.
PINNED = {
    "SequentialWorkflow": (1, "8592f2747f299c4b779af232d1cbb0255cd56aae623d9ce4e01758ee31a8dd3f"),
    "ConcurrentWorkflow": (1, "95775fafbe791e9ef0f335dda956b2f364d6764c67ed0983ba93f92001446eec"),
}

AGENTS = [
    agent("A", max_loops=2, role="critic", temperature=0),
    agent("B -> C, 日本", auto_generate_prompt=True, description="does B", max_tokens=17),
    agent("Ω", system_prompt=None),
]


def item(name: str, **fields: Any) -> Any:
    return item_of(**{"agents": AGENTS, "max_loops": 2, "swarm_type": name, "rules": "Be brief.", **fields})


@pytest.mark.parametrize("name", SWARMS)
def test_the_engine_asks_and_says_what_its_revision_always_did(name: str) -> None:
    entries, _ = run(item(name))
    assert PINNED[name] == (REVISION, journal_digest(entries))


@pytest.mark.parametrize("name", SWARMS)
def test_a_run_never_makes_more_calls_than_was_announced(name: str) -> None:
    world = World(item(name))
    world.run()
    assert 0 < len(world.asked) <= calls_at_most(world.item.spec)


@pytest.mark.parametrize("name", SWARMS)
def test_a_failed_agent_is_an_error_in_the_output_and_never_text_for_others(name: str) -> None:
    world = World(item(name), answer=failing("A"))
    entries, output = world.run()
    assert output.status in {"partial", "error"}
    failed = [message for message in output.output if message.role == "A"]
    assert failed
    assert all(message.content is None and message.error is not None for message in failed)
    assert not any("A fails" in message.content for call in world.asked for message in call.request.messages)
    assert replay(world.item, sorted(entries, key=lambda entry: entry.path)) == output


@pytest.mark.parametrize("name", SWARMS)
def test_two_runs_of_one_item_share_nothing(name: str) -> None:
    assert run(item(name)) == run(item(name))


@pytest.mark.parametrize("name", SWARMS)
def test_usage_is_the_sum_of_what_the_providers_reported(name: str) -> None:
    entries, output = run(item(name))
    answers = [entry.answer for entry in entries if entry.answer is not None and entry.answer.usage is not None]
    assert output.usage.calls == len(entries)
    assert output.usage.output_tokens == 3 * len(answers)
    assert output.usage.input_tokens == sum(answer.usage.input_tokens for answer in answers if answer.usage is not None)


@pytest.mark.parametrize("name", SWARMS)
def test_every_call_has_its_own_seed_and_it_follows_from_item_and_path(name: str) -> None:
    world = World(item(name))
    world.run()
    assert [call.request.seed for call in world.asked] == [world.item.seed(call.path) for call in world.asked]
    assert len({call.request.seed for call in world.asked}) == len(world.asked)
    other = World(item(name, task="another task"))
    other.run()
    assert {call.request.seed for call in world.asked}.isdisjoint(call.request.seed for call in other.asked)
