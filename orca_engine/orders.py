"""Orders: what a router, director or planner wants done, and by whom; one order for each agent at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orca_engine.decisions import LIST, TEXT, WORDS, Unreadable, members, named_once
from orca_protocol.spec import AgentSpec


@dataclass(frozen=True, slots=True)
class Order:
    """What an agent is to do; no ``task``, or a blank one, means the swarm's own."""

    agent: AgentSpec
    task: str | None


def orders_in(document: Any, member: str, agents: Sequence[AgentSpec], *, needs_task: bool) -> list[Order]:
    """Return the orders that stand in ``document`` under ``member``. Raises Unreadable: none, an unknown agent, one named twice."""
    listed = members(document, "answer", {member: LIST})[member]
    by_name = {agent.agent_name: agent for agent in agents}
    seen: set[str] = set()
    orders = [_order(part, f"answer.{member}[{index}]", by_name, seen, needs_task) for index, part in enumerate(listed)]
    if not orders:
        raise Unreadable(f"answer.{member} is empty; at least one is needed.")
    return orders


def _order(part: Any, where: str, by_name: Mapping[str, AgentSpec], seen: set[str], needs_task: bool) -> Order:
    needed, optional = ({"task": WORDS}, {}) if needs_task else ({}, {"task": TEXT})
    order = members(part, where, {"agent_name": TEXT, **needed}, optional)
    task = order["task"] if (order["task"] or "").strip() else None
    return Order(named_once(order["agent_name"], by_name, f"{where}.agent_name", seen), task)
