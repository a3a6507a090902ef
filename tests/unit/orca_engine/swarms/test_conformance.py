"""What every swarm type keeps to, over the table; and the pinned journal digests that a change of the engine would change."""

from __future__ import annotations

from typing import Any

import pytest

from orca_engine import REVISION
from orca_engine.machine import Call
from orca_engine.program import calls_at_most, output_tokens_at_most
from orca_engine.replay import replay
from orca_engine.swarms import SWARMS
from orca_protocol.journal import journal_digest
from orca_protocol.model import Answer, Failure
from orca_protocol.spec import SWARM_TYPES
from tests.unit.orca_engine.worlds import World, agent, deciding, item_of, prompt, run, saying, spec_of

#: digests of the two runs below, under one engine revision. A new digest needs a new revision: peers replay what they ship.
PINNED_REVISION = 4
PINNED: dict[str, tuple[str, str]] = {
    "SequentialWorkflow": (
        "8311036ca90d691f8c8b57677c76c617262f6970fa016c2b32b80e3425dd8559",
        "8311036ca90d691f8c8b57677c76c617262f6970fa016c2b32b80e3425dd8559",
    ),
    "ConcurrentWorkflow": (
        "135acda43f454fe905a70fb6a8dea1c618520d2762aef4db415ab8844278288c",
        "135acda43f454fe905a70fb6a8dea1c618520d2762aef4db415ab8844278288c",
    ),
    "AgentRearrange": (
        "f838d9f2ce5e3cb34a1ffc5457cb6e9ddc2d9a85e2ed707bc86c0d578fd34341",
        "f838d9f2ce5e3cb34a1ffc5457cb6e9ddc2d9a85e2ed707bc86c0d578fd34341",
    ),
    "MixtureOfAgents": (
        "bd7aacf76864f1de9c5369256fc7b89b91de2a6439f4ff26135888a50b28b18d",
        "bd7aacf76864f1de9c5369256fc7b89b91de2a6439f4ff26135888a50b28b18d",
    ),
    "MajorityVoting": (
        "08dec3cd44129594a638308d4fad49b4716a8aba670d1d785993d4b002bac218",
        "08dec3cd44129594a638308d4fad49b4716a8aba670d1d785993d4b002bac218",
    ),
    "GroupChat": (
        "cb0fd02beecdc47e8718bec4e5085c483944ea8b89239bca0029b828cd427bef",
        "cb0fd02beecdc47e8718bec4e5085c483944ea8b89239bca0029b828cd427bef",
    ),
    "MultiAgentRouter": (
        "80b5b3a650c4162c1affa6159ea0b1f68f860794ca53b955a20e9f01258c7fc3",
        "dc9b1c49d7ecdd5758076a83617c05f7c7a425f1d1c5ffeecb7d0e4aa4166fd3",
    ),
    "HierarchicalSwarm": (
        "1752fa05b3e857cb45dea9989da6df5e11adf871d60c1c0e9c683615e17974ea",
        "71d15198a1df875baa850d47da385a029c0b5f9980ad1e8be788370f8a3c1523",
    ),
    "SpreadSheetSwarm": (
        "5cbda4ef6d3347c487a184db60e57eb473f95aa4c711c4e6c5b1651280b0770c",
        "5cbda4ef6d3347c487a184db60e57eb473f95aa4c711c4e6c5b1651280b0770c",
    ),
    "AutoSwarmBuilder": (
        "c72018ab3a34674efecfc8f2c1405ca264d32d29f8a663cf795e2741d5fd6a9b",
        "1149d279a0a226ffce5c6ebd46278da9ab2ccc03c3dc62dfbef63608f412f566",
    ),
    "auto": (
        "1da2642e55d90c02e216a3b346011ebf5dd03b0c3cebb164e531171aa9fc55a3",
        "322a313a8da6ec8e44a884f7cd16801f7f97cca0b35407ef0285ce2ef164ad90",
    ),
    "RoundRobin": (
        "9df7e386af4d51cb286aefef3bceba042ddeb4938e2b401e7ecf853f49ff811a",
        "9df7e386af4d51cb286aefef3bceba042ddeb4938e2b401e7ecf853f49ff811a",
    ),
    "DebateWithJudge": (
        "721a68e72c2e8d584e805da62db1f10c205d13fba58427e38c41ed3df55b4fbf",
        "721a68e72c2e8d584e805da62db1f10c205d13fba58427e38c41ed3df55b4fbf",
    ),
    "LLMCouncil": (
        "de1c523c0e76e0f42d9d74208b3b58b412673c884e662e96c00bd24203251afc",
        "de1c523c0e76e0f42d9d74208b3b58b412673c884e662e96c00bd24203251afc",
    ),
    "CouncilAsAJudge": (
        "6bb804000e0a31dbc3d100ce3047b84a391328279d7f06a2de1b09dcc18c8894",
        "6bb804000e0a31dbc3d100ce3047b84a391328279d7f06a2de1b09dcc18c8894",
    ),
    "HeavySwarm": (
        "8a7c90b06ef2ceb5ddb8d3ef0de226aae0add7ec1ba57bb1eb5fd42d19f51490",
        "3fcd58f8554f4c973c4329546c7194d33a669a03218a599b770e686c66aec789",
    ),
    "PlannerWorkerSwarm": (
        "860e826798ae87f25018b670037edd9084359f444f0bdb13d4d27dd27e970b85",
        "5d606cdef565061bd775de875708f792bdec0db1480ca40b34049ab1f3f2e52f",
    ),
    "BatchedGridWorkflow": (
        "08a0aa76ef55e10af2144375b4264c07118c5182592aaac50d663abcaf9ce356",
        "08a0aa76ef55e10af2144375b4264c07118c5182592aaac50d663abcaf9ce356",
    ),
    "GraphWorkflow": (
        "8e88dd3c8f2525e0bc26aab5ed60a2518ed2b9a04fca4d45ca9c625112cb0c12",
        "8e88dd3c8f2525e0bc26aab5ed60a2518ed2b9a04fca4d45ca9c625112cb0c12",
    ),
}

AGENTS = [
    agent("A", max_loops=2, role="critic", temperature=0),
    agent("B -> C, 日本", auto_generate_prompt=True, description="does B", max_tokens=17),
    agent("Ω", system_prompt=None),
]
#: an agent of each type that may fail without taking the decision with it
VICTIMS = {"CouncilAsAJudge": "Accuracy Judge", "HeavySwarm": "Research", "AutoSwarmBuilder": "X"}

every_type = pytest.mark.parametrize("name", SWARMS)


def item(name: str, **fields: Any) -> Any:
    return item_of(**spec_of(name, AGENTS, **{"max_loops": 2, "rules": "Be brief.", **fields}))


def world_of(name: str, **fields: Any) -> World:
    one = item(name, **fields)
    return World(one, answer=deciding(one))


def wrong_decisions(one: Any) -> Any:
    """Every decision has something unknown in it, so that what is asked next quotes it."""
    good = deciding(one)

    def answer(call: Call) -> Any:
        said = good(call)
        if not isinstance(said, Answer) or not said.content.startswith("{"):
            return said
        return saying(call, said.content.replace("{", '{"é\\u2028": 1, ', 1))

    return answer


def test_the_table_holds_every_type_that_the_protocol_knows() -> None:
    assert set(SWARMS) == set(SWARM_TYPES)


@every_type
def test_the_engine_asks_and_says_what_its_revision_always_did(name: str) -> None:
    decided, _ = world_of(name).run()
    repaired, _ = run(item(name), answer=wrong_decisions(item(name)))
    assert (REVISION, *PINNED.get(name, ())) == (PINNED_REVISION, journal_digest(decided), journal_digest(repaired))


@every_type
def test_a_run_never_uses_more_than_was_announced(name: str) -> None:
    for answer in (deciding(item(name)), wrong_decisions(item(name))):
        world = World(item(name), answer=answer)
        world.run()
        assert 0 < len(world.asked) <= calls_at_most(world.item.spec)
        assert sum(call.asked.max_tokens for call in world.asked) <= output_tokens_at_most(world.item.spec)


@every_type
def test_a_run_in_which_everybody_answers_is_a_success(name: str) -> None:
    _, output = world_of(name).run()
    assert output.status == ("partial" if name == "PlannerWorkerSwarm" else "success")  # its goal is never met here
    assert output.output
    assert all(message.content is not None for message in output.output)


@every_type
def test_a_failed_agent_is_an_error_in_the_output_and_never_text_for_others(name: str) -> None:
    world = world_of(name)
    good, victim = world.answer, VICTIMS.get(name, "A")
    world.answer = lambda call: Failure(code="scripted", detail=f"{victim} fails") if call.name == victim else good(call)
    entries, output = world.run()
    assert output.status in {"partial", "error"}
    failed = [message for message in output.output if message.role == victim]
    assert failed
    assert all(message.content is None and message.error is not None for message in failed)
    assert not any(f"{victim} fails" in prompt(call) for call in world.asked)
    assert replay(world.item, sorted(entries, key=lambda entry: entry.path)) == output


@every_type
def test_when_nobody_answers_the_run_is_an_error_with_the_reason(name: str) -> None:
    _, output = run(item(name), answer=lambda call: Failure(code="scripted", detail="no"))
    assert output.status == "error"
    assert output.output
    assert all(message.error is not None and message.error.code == "scripted" for message in output.output)


@every_type
def test_two_runs_of_one_item_share_nothing(name: str) -> None:
    assert world_of(name).run() == world_of(name).run()


@every_type
def test_rules_reach_the_system_message_of_whoever_works_or_decides(name: str) -> None:
    world = world_of(name)
    world.run()
    systems = {call.name: call.asked.messages[0].content for call in world.asked if call.path.loop or call.path.step != 0}
    assert systems
    assert all(system.endswith("Be brief.") for system in systems.values())


@every_type
def test_without_history_only_the_last_step_is_returned(name: str) -> None:
    _, whole = world_of(name).run()
    _, last = world_of(name, return_history=False).run()
    assert 0 < len(last.output) <= len(whole.output)
    said = {(message.role, message.task) for message in whole.output}
    assert all((message.role, message.task) in said for message in last.output)
    assert last.output[-1].role == whole.output[-1].role


@every_type
def test_messages_stand_before_the_task(name: str) -> None:
    before = [{"role": "user", "content": "BEFORE"}, {"role": "assistant", "content": "SAID"}]
    world = world_of(name, messages=before)
    world.run()
    for call in world.asked:
        texts = [message.content for message in call.asked.messages]
        if call.path.loop == 0 and "BEFORE" not in texts:
            continue  # a prompt is written for the task, not for the conversation
        at = texts.index("BEFORE")
        assert texts[at + 1] == "SAID"
        assert call.asked.messages[at + 2].role == "user"


@every_type
def test_usage_is_the_sum_of_what_the_providers_reported(name: str) -> None:
    entries, output = world_of(name).run()
    answers = [entry.answer for entry in entries if entry.answer is not None and entry.answer.usage is not None]
    assert output.usage.calls == len(entries)
    assert output.usage.output_tokens == 3 * len(answers)
    assert output.usage.input_tokens == sum(answer.usage.input_tokens for answer in answers if answer.usage is not None)


@every_type
def test_every_call_has_its_own_seed_and_it_follows_from_item_and_path(name: str) -> None:
    world = world_of(name)
    world.run()
    assert [call.asked.seed for call in world.asked] == [world.item.seed(call.path) for call in world.asked]
    assert len({call.asked.seed for call in world.asked}) == len(world.asked)
    other = world_of(name, description="another item")
    other.run()
    assert {call.asked.seed for call in world.asked}.isdisjoint(call.asked.seed for call in other.asked)
