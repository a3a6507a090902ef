"""HierarchicalSwarm: a director plans and gives orders, the agents carry them out side by side, the director has the last word.

The director is ``lead`` (without one: a separate agent with the first agent's model). In each of ``max_loops`` loops it reads the
agents' names and descriptions, the task and everything said so far, and answers with a plan and at most one order an agent. What
agents see of that is text: plan and orders. An order for an unknown agent is pointed out to the director once, then skipped and
named in a note. No order at all, or a plan that cannot be read twice, is an error. After the last loop the director sums up,
unless ``synthesis`` is false. A failed agent is left out; when all that were ordered fail, the run ends as an error.
Calls: max_loops x (2 for the director, and the agents'), and 1 for the synthesis; the ordered agents in flight together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orca_engine.decisions import LIST, TEXT, Decision, Unreadable, decide, members, quoted
from orca_engine.forms import Form, object_of, one_of, phrase, several
from orca_engine.machine import all_of
from orca_engine.orders import Order, orders_in
from orca_engine.swarm import Ended, Swarm, at_best_partial, broken, ended, is_over, last_word, roster, told
from orca_engine.swarm_type import LeadRole, SwarmType, every_agent, in_every_loop
from orca_protocol.output import Note
from orca_protocol.spec import AgentSpec, SwarmSpec

_ROLE = LeadRole("Director", "You direct a team of agents: you plan, give orders, and answer for the result.", "first")
_QUESTION = """{purpose}Plan the next step and give the agents their orders, at most one each. The agents are:
{roster}
Answer with one JSON object and nothing else, of this form:
{{"plan": "your plan, in words", "orders": [{{"agent_name": "the agent's name, exactly", "task": "what it is to do"}}]}}"""
_ORDER = "The director's order for you: {task}"
_SHOWN_NAMES = 10
_SYNTHESIS = "The work is done. Write the final answer to the task from what the agents have found."


@dataclass(frozen=True, slots=True)
class Plan:
    """What the director wants."""

    text: str
    orders: list[Order]
    unknown: list[str]

    @property
    def shown(self) -> str:
        """The plan as everybody reads it."""
        return "\n".join([self.text, *(f"- {order.agent.agent_name}: {order.task}" for order in self.orders)])

    @property
    def named_in_vain(self) -> str:
        """Names that nobody bears, the first of them."""
        more = len(self.unknown) - _SHOWN_NAMES
        return ", ".join(map(quoted, self.unknown[:_SHOWN_NAMES])) + (f" and {more} more" if more > 0 else "")

    def doubt(self) -> str | None:
        """What the director should know of its plan."""
        return f"No agent is named {self.named_in_vain}; use the names that were listed." if self.unknown else None


async def hierarchical(swarm: Swarm) -> Ended:
    """Plan, order, work, sum up."""
    transcript = swarm.opening()
    notes: list[Note] = []
    purpose = f"The purpose of this team: {swarm.spec.description}\n" if swarm.spec.description else ""
    question = _QUESTION.format(purpose=purpose, roster=roster(swarm.agents))
    for loop in swarm.loops:
        plan = await decide(
            swarm,
            swarm.lead,
            transcript,
            question,
            lambda document: _plan(document, swarm.agents),
            _form(swarm.agents),
            loop=loop,
            step=0,
            doubt=Plan.doubt,
        )
        if not isinstance(plan, Decision):
            return broken(transcript.plus([plan]), *notes)
        if plan.value.unknown:
            notes.append(Note(code="order_skipped", detail=f"loop {loop}: no agent is named {plan.value.named_in_vain}"))
        transcript = transcript.plus([plan.turn.saying(plan.value.shown)])
        before = transcript
        turns = await all_of(
            swarm.visit(order.agent, before, loop=loop, step=2, place=place, after=told(_ORDER.format(task=order.task)))
            for place, order in enumerate(plan.value.orders)
        )
        transcript = transcript.plus(turns)
        if is_over(transcript):
            return broken(transcript, *notes)
    end = ended(transcript, *notes)
    if has_synthesis(swarm.spec):
        end = await last_word(swarm, swarm.lead, transcript, _SYNTHESIS, loop=swarm.spec.max_loops, step=3, notes=notes)
    return at_best_partial(end) if notes else end


def _form(agents: Sequence[AgentSpec]) -> Form:
    order = object_of(agent_name=one_of(agent.agent_name for agent in agents), task=phrase())
    return object_of(plan=phrase(), orders=several(order, len(agents)))


def _plan(document: Any, agents: Sequence[AgentSpec]) -> Plan:
    plan = members(document, "answer", {"plan": TEXT, "orders": LIST})
    known = {agent.agent_name: agent for agent in agents}
    named = [order.get("agent_name") if isinstance(order, dict) else None for order in plan["orders"]]
    in_vain = [isinstance(name, str) and name not in known for name in named]
    unknown = [str(name) for name, is_in_vain in zip(named, in_vain, strict=True) if is_in_vain]
    orders = [order for order, is_in_vain in zip(plan["orders"], in_vain, strict=True) if not is_in_vain]
    if unknown and not orders:
        raise Unreadable(f"answer.orders names only unknown agents; known are {', '.join(known)}.")
    return Plan(plan["plan"], orders_in({"orders": orders}, "orders", agents, needs_task=True), unknown)


def has_synthesis(spec: SwarmSpec) -> bool:
    """Whether the director has the last word."""
    return spec.synthesis is not False


HIERARCHICAL = SwarmType(
    run=hierarchical,
    visits=every_agent(in_every_loop),
    lead=_ROLE,
    lead_visits=lambda spec: 2 * spec.max_loops + has_synthesis(spec),
    uses=frozenset({"lead", "synthesis"}),
)
