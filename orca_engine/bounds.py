"""What a run can use at most, from the spec alone: the sum over all visits its type may make, prompts that agents write included.

Where a model decides what runs, it is the most of what it may decide. With the budgets that apply it gives the ceilings, which a
statement signs and replay checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from orca_engine.least import least_of
from orca_engine.ledger import Amounts, Ledger, in_dollars
from orca_engine.swarm_type import SwarmType
from orca_engine.swarms import SWARMS
from orca_engine.visit import calls_of, tool_calls_of
from orca_protocol.budget import Budget, Ceilings, Price
from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, SwarmSpec


@dataclass(frozen=True, slots=True)
class Bound:
    """Calls and generated tokens, at most; entries of the journal; ``prompt_characters`` of all agents together."""

    calls: int
    output_tokens: int
    entries: int
    prompt_characters: int


def type_of(spec: SwarmSpec) -> SwarmType:
    """Return the row of the table that runs ``spec``."""
    return SWARMS[spec.canonical_type]


def settled(spec: SwarmSpec) -> SwarmSpec:
    """Return the spec that runs, as far as the spec alone decides that."""
    return type_of(spec).settle(spec)


def speakers(spec: SwarmSpec) -> Sequence[AgentSpec]:
    """Return the agents that a run may visit, without the lead."""
    return [agent for agent, times in type_of(spec).visits(spec) if times]


def cast(spec: SwarmSpec) -> Sequence[AgentSpec]:
    """Return the agents that a run may visit, and those that it may once something has been decided."""
    return [*speakers(spec), *(agent for wider in type_of(spec).onward(spec) for agent in speakers(wider))]


def runs_of(spec: SwarmSpec) -> Sequence[SwarmSpec]:
    """Return a spec for each run of the swarm: one, or one for each of its tasks."""
    if spec.tasks is None or type_of(spec).tasks == "own":
        return (spec,)
    return [spec.model_copy(update={"task": task, "tasks": None}) for task in spec.tasks]


def inputs_at_most(spec: SwarmSpec) -> int:
    """Return how often a run of ``spec`` asks a person at most."""
    spec = settled(spec)
    return len(runs_of(spec)) * sum(type_of(one).inputs(one) for one in (spec, *type_of(spec).onward(spec)))


def bound_of(spec: SwarmSpec) -> Bound:
    """Return what all runs of ``spec`` use at most."""
    spec = settled(spec)
    runs = runs_of(spec)
    one = _of_one_run(runs[0])
    supplies = sum(len(agent.sources) for agent in cast(spec)) + (spec.img is not None)
    return Bound(one.calls * len(runs), one.output_tokens * len(runs), one.entries * len(runs) + supplies, one.prompt_characters)


def _of_one_run(spec: SwarmSpec) -> Bound:
    kind = type_of(spec)
    lead = kind.lead_of(spec)
    calls = tokens = entries = characters = 0
    for agent, times in (*kind.visits(spec), *(() if lead is None else ((lead, kind.lead_visits(spec)),))):
        if times:
            asked = times * calls_of(agent) + agent.auto_generate_prompt
            calls += asked
            entries += asked + (times * tool_calls_of(agent) if agent.sources else 0)
            tokens += asked * agent.max_tokens
            characters += len(agent.system_prompt or "") + len(spec.rules or "") + len(agent.role)
    onward = [_of_one_run(wider) for wider in kind.onward(spec)]
    return Bound(
        calls + max((one.calls for one in onward), default=0),
        tokens + max((one.output_tokens for one in onward), default=0),
        entries + kind.inputs(spec) + max((one.entries for one in onward), default=0),
        max(characters, *(one.prompt_characters for one in onward)) if onward else characters,
    )


def ceilings_of(
    spec: SwarmSpec, budgets: Iterable[Budget] = (), prices: Mapping[str, Price] | None = None, *, bound: Bound | None = None
) -> Ceilings:
    """Return what a run of ``spec`` may use: the least of what its type can use, its own budget and ``budgets``.

    ``bound`` is that of the spec, where it is known already; ``prices`` are by the spec's model names, those that are known.
    Raises InvalidError ``price_unknown`` where money is bounded and a model has no price, ``budget_too_small`` where not even
    the first call would fit.
    """
    bound, given = bound or bound_of(spec), [budget for budget in (spec.budget, *budgets) if budget is not None]
    cost = min((budget.cost for budget in given if budget.cost is not None), key=Decimal, default=None)
    seconds = min((budget.seconds for budget in given if budget.seconds is not None), key=Decimal, default=None)
    read = [budget.input_tokens for budget in given if budget.input_tokens is not None]
    ceilings = Ceilings(
        calls=min(bound.calls, *(budget.calls for budget in given if budget.calls is not None), bound.calls),
        output_tokens=min(
            bound.output_tokens,
            *(budget.output_tokens for budget in given if budget.output_tokens is not None),
            bound.output_tokens,
        ),
        input_tokens=min(read, default=None),
        cost=cost,
        seconds=seconds,
        prices=None if cost is None else _priced(spec, prices or {}),
    )
    _refuse_too_small(spec, ceilings)
    return ceilings


def freer(ceilings: Ceilings, budget: Budget) -> str | None:
    """Return what ``ceilings`` leave freer than ``budget``, time aside, in words; None if nothing."""
    for axis in ("calls", "input_tokens", "output_tokens", "cost"):
        allowed, most = getattr(budget, axis), getattr(ceilings, axis)
        if allowed is not None and (most is None or Decimal(most) > Decimal(allowed)):
            return f"{axis}: {'no bound' if most is None else most}, where {allowed} is allowed"
    return None


def _priced(spec: SwarmSpec, prices: Mapping[str, Price]) -> dict[str, Price]:
    unknown = [name for name in spec.model_names if name not in prices]
    if unknown:
        raise InvalidError("price_unknown", f"budget.cost: no price is known for {', '.join(unknown)}, so money cannot be bounded")
    return {name: prices[name] for name in sorted(spec.model_names)}


def _refuse_too_small(spec: SwarmSpec, ceilings: Ceilings) -> None:
    if not ceilings.calls:
        raise InvalidError("budget_too_small", "budget.calls: without a call nothing can be done")
    spec = settled(spec)
    kind = type_of(spec)
    lead = kind.lead_of(spec)
    agents = (*speakers(spec), *(() if lead is None or not kind.lead_visits(spec) else (lead,)))
    least = min((agent.max_tokens for agent in agents), default=0)
    if ceilings.output_tokens < least:
        raise InvalidError(
            "budget_too_small",
            f"budget.output_tokens: {ceilings.output_tokens} are less than one call may use ({least}); lower max_tokens",
        )
    if ceilings.input_tokens is not None or ceilings.cost is not None:
        _refuse_unpaid(ceilings, least_of(spec, agents, ceilings))


def _refuse_unpaid(ceilings: Ceilings, least: Amounts | None) -> None:
    """What is read and what it costs is reckoned as the run's own ledger will do it."""
    if least is None:
        return
    if ceilings.input_tokens is not None and ceilings.input_tokens < least.input_tokens:
        reckoned = f"{int(least.input_tokens)}, a token for each byte"
        raise InvalidError(
            "budget_too_small",
            f"budget.input_tokens: {ceilings.input_tokens} are less than the first call is reckoned at ({reckoned}); allow more",
        )
    dollars = in_dollars(least).normalize()
    if ceilings.cost is not None and Decimal(ceilings.cost) < dollars:
        raise InvalidError(
            "budget_too_small",
            f"budget.cost: {ceilings.cost} is less than one call may cost ({dollars:f}); allow more, or lower max_tokens",
        )


def ledger_of(bound: Bound, ceilings: Ceilings) -> Ledger | None:
    """Return the ledger of a run that uses ``bound`` at most, or None where it cannot reach its ceilings."""
    is_bounded = ceilings.calls < bound.calls or ceilings.output_tokens < bound.output_tokens
    return Ledger(ceilings) if is_bounded or ceilings.input_tokens is not None or ceilings.cost is not None else None
