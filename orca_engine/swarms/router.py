"""MultiAgentRouter: a router reads the agents' names and descriptions and hands the task to one or several of them.

The router is ``lead`` (without one: a separate agent with the first agent's model). It may rewrite the task for an agent; an
empty one is the task itself. The chosen agents work side by side, each seeing only its task, and all their answers are the
output, in the order of the hand-offs. A hand-off to nobody, to an unknown agent or twice to the same one gets one repair
question; then the run ends as an error in which the router's entry says why, and no agent was asked.
Calls: 2 for the router, and each agent's own loops; the chosen ones in flight together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orca_engine.decisions import Decision, decide
from orca_engine.forms import Form, object_of, one_of, phrase, several
from orca_engine.machine import all_of
from orca_engine.orders import orders_in
from orca_engine.swarm import Ended, Swarm, broken, ended, roster
from orca_engine.swarm_type import LeadRole, SwarmType, every_agent
from orca_protocol.spec import AgentSpec

_ROLE = LeadRole("Router", "You route tasks to the agents that are best at them.", "first")
_QUESTION = """Hand the task to the agents that should do it, as few as it needs. The agents are:
{roster}
Answer with one JSON object and nothing else, of this form:
{{"handoffs": [{{"agent_name": "the agent's name, exactly", "task": "the task for it, or null to hand on the task as it is"}}]}}"""


async def router(swarm: Swarm) -> Ended:
    """Ask the router, then those it chose."""
    opening = swarm.opening()

    def read(document: Any) -> Any:
        return orders_in(document, "handoffs", swarm.agents, needs_task=False)

    question = _QUESTION.format(roster=roster(swarm.agents))
    chosen = await decide(swarm, swarm.lead, opening, question, read, _form(swarm.agents), loop=1, step=0)
    if not isinstance(chosen, Decision):
        return broken(opening.plus([chosen]))
    turns = await all_of(
        swarm.visit(order.agent, swarm.opening(order.task), loop=1, step=2, place=place) for place, order in enumerate(chosen.value)
    )
    return ended(opening.plus(turns))


def _form(agents: Sequence[AgentSpec]) -> Form:
    handoff = object_of(agent_name=one_of(agent.agent_name for agent in agents), task=phrase())
    return object_of(handoffs=several(handoff, len(agents)))


ROUTER = SwarmType(
    run=router,
    visits=every_agent(lambda spec: 1),
    lead=_ROLE,
    lead_visits=lambda spec: 2,
    uses=frozenset({"lead"}),
    has_loops=False,
)
