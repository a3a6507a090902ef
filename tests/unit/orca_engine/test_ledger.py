"""Budgets: reserved in declared order when a step starts, settled when it has ended, never exceeded, and stated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_engine.bounds import ceilings_of
from orca_engine.item import Item
from orca_engine.ledger import UNREAD, Ledger, prompt_tokens_at_most
from orca_engine.machine import Call
from orca_engine.replay import replay
from orca_engine.swarms import SWARMS
from orca_protocol.budget import Budget, Ceilings, Price
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Outcome
from orca_protocol.model import Answer, Failure, Message, ModelIdentity, ModelRequest, Usage
from tests.house.repository import ROOT
from tests.unit.orca_engine.worlds import IMAGE, World, agent, deciding, failing, item_of, out, run, spec_of

PRICE = Price(input="1", output="10")
#: what a call may come to: an answer, or a failure
BECAME = ("reported", "unreported", "empty_answer", "timeout", "rate_limited")


def request(text: str = "T", tokens: int = 10, model: str = "m") -> ModelRequest:
    return ModelRequest(model=model, messages=(Message(role="user", content=text),), max_tokens=tokens, temperature=0.0, seed=0)


def answer(read: int | None, written: int = 0) -> Answer:
    usage = None if read is None else Usage(input_tokens=read, output_tokens=written)
    return Answer(content="x", finish_reason="stop", model=ModelIdentity(provider="p", model="m"), usage=usage)


def team(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [agent(name, **{"max_tokens": 10, **fields}) for name in "ABCDEFGH"[:count]]


def test_the_first_of_a_step_get_what_there_is_and_the_run_ends_with_a_partial_record() -> None:
    world = World(item_of(agents=team(3), swarm_type="ConcurrentWorkflow", max_loops=2, budget={"calls": 4}))
    _, output = world.run()
    assert [(call.name, call.path.loop) for call in world.asked] == [("A", 1), ("B", 1), ("C", 1), ("A", 2)]
    assert [message.error and message.error.code for message in output.output] == [None] * 4 + ["budget"] * 2
    assert (output.status, output.stopped, output.usage.calls) == ("partial", "budget", 4)


def test_what_a_step_did_not_use_is_there_for_the_next() -> None:
    world = World(item_of(agents=team(3), budget={"output_tokens": 16}))  # each answer takes 3 of the 10 it may take
    _, output = world.run()
    assert [message.role for message in output.output if message.content] == ["A", "B", "C"]
    assert output.status == "success"


def test_an_answer_without_figures_counts_as_the_worst() -> None:
    def silent(call: Call) -> Outcome:
        said = out(call)
        assert isinstance(said, Answer)
        return said.model_copy(update={"usage": None})

    _, output = run(item_of(agents=team(3), budget={"output_tokens": 20}), answer=silent)
    assert (output.status, output.stopped) == ("partial", "budget")
    assert len(output.output) == 3


@pytest.mark.parametrize("code", ["empty_answer", "model_refused", "answer_too_large", "truncated_answer", "timeout", "new"])
def test_a_failed_call_that_may_have_been_billed_counts_as_the_worst(code: str) -> None:
    item = item_of(agents=team(2), swarm_type="ConcurrentWorkflow", max_loops=9, budget={"output_tokens": 50})
    _, output = run(item, answer=failing("B", code=code))
    assert (output.usage.calls, output.stopped) == (7, "budget")  # 3 tokens for A and 10 for B: 11 are left after three rounds


@pytest.mark.parametrize("code", ["connect_failed", "rate_limited", "overloaded", "unauthorised", "tools_unsupported"])
def test_a_failed_call_that_nobody_read_is_a_call_that_used_no_tokens(code: str) -> None:
    item = item_of(agents=team(3), swarm_type="ConcurrentWorkflow", max_loops=2, budget={"calls": 5, "output_tokens": 60})
    _, output = run(item, answer=failing("B", code=code))
    assert (output.usage.calls, output.stopped) == (5, "budget")


def test_the_failures_that_nobody_read_are_such_as_the_models_have() -> None:
    source = "".join(file.read_text() for file in (ROOT / "orca_agent" / "models").glob("*.py"))
    assert [code for code in sorted(UNREAD) if f'"{code}"' not in source] == []


def test_an_image_is_reckoned_as_no_less_than_the_dearest_provider_counts_it() -> None:
    shown = Message(role="user", content="T", images=(IMAGE.image,))
    assert prompt_tokens_at_most(request().model_copy(update={"messages": (shown,)})) > 25_501


def test_a_chain_that_runs_out_keeps_what_it_has() -> None:
    _, output = run(item_of(agents=team(3), budget={"calls": 2}))
    assert [message.role for message in output.output] == ["A", "B", "C"]
    assert (output.status, output.output[-1].content) == ("partial", None)


def test_the_prompts_length_counts() -> None:
    long = item_of(agents=team(2), task="x" * 5000, budget={"input_tokens": 6000})
    _, output = run(long)
    assert [message.content is None for message in output.output] == [False, False]  # the first used 2, by its provider
    read = [agent("A", max_tokens=10), agent("B", max_tokens=10, system_prompt="y" * 5000)]
    _, output = run(item_of(agents=read, budget={"input_tokens": 4000}))
    assert (output.status, output.usage.calls, output.stopped) == ("partial", 1, "budget")


def test_money_is_bounded_by_the_prices_that_the_run_began_with() -> None:
    spec = item_of(agents=team(3), budget={"cost": "0.0008"}).spec
    item = Item("item", spec, ceilings_of(spec, prices={"m": PRICE}))
    assert item.ceilings is not None
    assert item.ceilings.prices == {"m": PRICE}
    # a call may read some 250 tokens and write 10: 0.00035 dollars; it reads 3 and writes 3: 0.000033
    entries, output = run(item)
    assert output.status == "success"
    spec = item_of(agents=team(3), budget={"cost": "0.00022"}).spec
    entries, output = run(Item("item", spec, ceilings_of(spec, prices={"m": PRICE})))
    assert (output.usage.calls, output.stopped, len(entries)) == (1, "budget", 1)


def test_the_bound_of_a_prompt_is_never_less_than_its_bytes() -> None:
    assert prompt_tokens_at_most(request("日本")) >= 6


@pytest.mark.parametrize(
    ("fields", "prices", "code"),
    [
        ({"budget": {"cost": "1"}}, {}, "price_unknown"),
        ({"budget": {"calls": 0}}, {}, "budget_too_small"),
        ({"budget": {"output_tokens": 9}}, {}, "budget_too_small"),
        ({"budget": {"input_tokens": 0}}, {}, "budget_too_small"),
        ({"budget": {"input_tokens": 1}}, {}, "budget_too_small"),
        ({"budget": {"input_tokens": 4000}, "task": "x" * 5000}, {}, "budget_too_small"),
        ({"budget": {"input_tokens": 40_000}, "img": "https://example.org/a.png"}, {}, "budget_too_small"),
        ({"budget": {"cost": "0"}}, {"m": PRICE}, "budget_too_small"),
        ({"budget": {"cost": "0.0002"}}, {"m": PRICE}, "budget_too_small"),
    ],
)
def test_a_budget_that_cannot_be_kept_or_used_is_refused_before_anything_runs(
    fields: dict[str, Any], prices: dict[str, Price], code: str
) -> None:
    item = item_of(agents=team(2), **fields)
    with pytest.raises(InvalidError) as caught:
        ceilings_of(item.spec, prices=prices)
    assert caught.value.code == code
    assert caught.value.detail.startswith("budget.")
    with pytest.raises(InvalidError):
        World(item).run()


def test_ceilings_are_the_least_of_type_spec_and_budgets() -> None:
    spec = item_of(agents=team(3), budget={"calls": 2, "seconds": "9"}).spec
    given = [Budget(output_tokens=25, input_tokens=700), Budget(calls=7, input_tokens=600, seconds="60"), Budget()]
    assert ceilings_of(spec, given) == Ceilings(calls=2, output_tokens=25, input_tokens=600, seconds="9")
    assert ceilings_of(item_of(agents=team(3)).spec) == Ceilings(calls=3, output_tokens=30)


@pytest.mark.parametrize("fields", [{}, {"img": "https://example.org/a.png"}, {"tasks": ["T", "U" * 99, "V"], "task": None}])
@pytest.mark.parametrize("has_written_prompts", [False, True])
@pytest.mark.parametrize("name", SWARMS)
def test_no_type_has_a_first_call_that_is_reckoned_at_less_than_a_budget_must_have_room_for(
    name: str, has_written_prompts: bool, fields: dict[str, Any]
) -> None:
    more = {"auto_generate_prompt": has_written_prompts, "role": "critic", "response_schema": None if name == "GroupChat" else {}}
    item = item_of(**{**spec_of(name, team(3, **more), rules="Be brief."), **fields})
    world = World(item, answer=deciding(item))
    try:
        world.run()
    except InvalidError as error:
        assert error.code in {"field_without_use", "tasks_mismatch"}  # a type without such tasks
        return
    first = next(call.asked for call in world.asked if isinstance(call.request, ModelRequest))
    reckoned = prompt_tokens_at_most(first)
    assert ceilings_of(item.spec, [Budget(input_tokens=reckoned)]).input_tokens == reckoned
    with pytest.raises(InvalidError, match="budget_too_small"):
        ceilings_of(item.spec, [Budget(input_tokens=80)])


@pytest.mark.parametrize("name", ["MultiAgentRouter", "AutoSwarmBuilder", "HierarchicalSwarm", "PlannerWorkerSwarm", "GroupChat"])
def test_deciders_cannot_exceed_a_budget(name: str) -> None:
    for calls in range(1, 8):
        item = item_of(**spec_of(name, team(3), budget={"calls": calls}, max_loops=2))
        entries, output = run(item, answer=deciding(item))
        assert output.usage.calls <= calls
        assert replay(item, sorted(entries, key=lambda entry: entry.path)) == output


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 80), st.sampled_from(BECAME)), max_size=6),
    st.integers(0, 12),
    st.integers(0, 200),
)
def test_no_order_of_answers_lets_a_ledger_be_exceeded(steps: list[tuple[int, int, str]], calls: int, tokens: int) -> None:
    """Steps of some width, whose calls use what they say if the ledger lets them, whether or not anybody reports it."""
    ledger = Ledger(Ceilings(calls=calls, output_tokens=tokens))
    used_calls = used_tokens = 0
    for width, written, became in steps:
        opened = [ledger.allowing(request(tokens=80), 2) for _ in range(width)]
        allowances = [each.__enter__() for each in opened]
        for allowance in reversed(allowances):
            while allowance.covers(request(tokens=80)):
                outcomes = {"reported": answer(1, written), "unreported": answer(None)}
                allowance.charge(request(tokens=80), outcomes.get(became) or Failure(code=became, detail="d"))
                used_calls += 1
                used_tokens += 0 if became == "rate_limited" else written
        for each in opened:
            each.__exit__(None, None, None)
    assert used_calls <= calls
    assert used_tokens <= tokens


def test_a_step_that_begins_while_another_is_half_done_is_a_mistake() -> None:
    ledger = Ledger(Ceilings(calls=9, output_tokens=90))
    with ledger.allowing(request(), 1):
        with ledger.allowing(request(), 1) as second:
            second.charge(request(), answer(1, 1))
        with pytest.raises(RuntimeError, match="before the last one had ended"), ledger.allowing(request(), 1):
            pass
