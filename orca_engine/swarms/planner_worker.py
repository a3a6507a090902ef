"""PlannerWorkerSwarm: a planner lists tasks, the agents do them side by side, and the planner judges whether the goal is met.

The planner is ``lead`` (without one: a separate agent with the first agent's model). Tasks are dealt to the agents in turn, in
listed order, at most ``plan_max`` (10) in a cycle: who does what must not depend on who is quick. A worker reads everything said
before the cycle, and its own task. The judgement is either the final answer or what is still missing, and then the next of
``max_loops`` cycles begins. After the last one an unmet goal is noted, and the run is partial. A plan or judgement that cannot be
read twice, or a cycle of which no task is done, is an error.
Calls: max_loops x (4 for the planner, and the agents' for plan_max tasks); a cycle's tasks in flight together.
"""

from __future__ import annotations

from typing import Any

from orca_engine.decisions import FLAG, LIST, WORDS, Decision, Unreadable, decide, members
from orca_engine.forms import FLAG as FLAG_FORM
from orca_engine.forms import object_of, phrase, several
from orca_engine.machine import all_of
from orca_engine.swarm import Ended, Swarm, at_best_partial, broken, ended, is_over, roster, told
from orca_engine.swarm_type import LeadRole, SwarmType, Visits, in_every_loop, plan_max
from orca_protocol.output import Note
from orca_protocol.spec import SwarmSpec

_ROLE = LeadRole("Planner", "You plan the work of a team of agents, and judge whether its goal is met.", "first")
_PLAN = """Take the task apart into at most {most} smaller tasks that can be done independently of each other. The agents are:
{roster}
Answer with one JSON object and nothing else, of this form:
{{"tasks": ["the first task, with all that its worker must know", "…"]}}"""
_JUDGED = object_of(done=FLAG_FORM, text=phrase())
_JUDGE = """Judge whether the work above meets the goal of the task.
Answer with one JSON object and nothing else, of this form:
{"done": true or false, "text": "if done, the final answer to the task; if not, what is still missing"}"""


async def planner_worker(swarm: Swarm) -> Ended:
    """Plan, work, judge, until the goal is met."""
    transcript = swarm.opening()
    most = plan_max(swarm.spec)
    question = _PLAN.format(most=most, roster=roster(swarm.agents))

    def read(document: Any) -> list[str]:
        return _tasks(document, most)

    for loop in swarm.loops:
        plan = await decide(
            swarm, swarm.lead, transcript, question, read, object_of(tasks=several(phrase(), most)), loop=loop, step=0
        )
        if not isinstance(plan, Decision):
            return broken(transcript.plus([plan]))
        before = transcript
        turns = await all_of(
            swarm.visit(agent, before, loop=loop, step=2, place=place, after=told(f"Your task: {task}"))
            for place, task in enumerate(plan.value)
            for agent in [swarm.agents[place % len(swarm.agents)]]
        )
        transcript = transcript.plus([plan.turn.saying("\n".join(f"- {task}" for task in plan.value))]).plus(turns)
        if is_over(transcript):
            return broken(transcript)
        judged = await decide(swarm, swarm.lead, transcript, _JUDGE, _judgement, _JUDGED, loop=loop, step=3)
        if not isinstance(judged, Decision):
            return broken(transcript.plus([judged]))
        is_done, text = judged.value
        transcript = transcript.plus([judged.turn.saying(text)])
        if is_done:
            return ended(transcript)
    return at_best_partial(ended(transcript, Note(code="goal_unmet", detail=f"not met after {swarm.spec.max_loops} cycles")))


def _tasks(document: Any, most: int) -> list[str]:
    tasks = members(document, "answer", {"tasks": LIST})["tasks"]
    if not all(isinstance(task, str) and task.strip() for task in tasks):
        raise Unreadable("answer.tasks must hold strings that are not blank.")
    if not 1 <= len(tasks) <= most:
        raise Unreadable(f"answer.tasks has {len(tasks)} tasks; it must have 1 to {most}.")
    return list(tasks)


def _judgement(document: Any) -> tuple[bool, str]:
    judgement = members(document, "answer", {"done": FLAG, "text": WORDS})
    return judgement["done"], judgement["text"]


def _visits(spec: SwarmSpec) -> Visits:
    count = len(spec.agents)
    return [(agent, spec.max_loops * len(range(place, plan_max(spec), count))) for place, agent in enumerate(spec.agents)]


PLANNER_WORKER = SwarmType(
    run=planner_worker,
    visits=_visits,
    lead=_ROLE,
    lead_visits=lambda spec: 4 * in_every_loop(spec),
    uses=frozenset({"lead", "plan_max"}),
)
