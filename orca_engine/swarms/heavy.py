"""HeavySwarm: four questions about the task, four specialists that each answer one, and a synthesis.

``lead`` writes the questions as one JSON object and, in the end, the synthesis; research, analysis, alternatives and verification
are agents of the type's own with ``lead``'s model, so that the spec lists none. Each sees the task and its own question. Questions
that cannot be read twice are an error. A failed specialist is left out; without any, or without the synthesis, it is an error.
Calls: 2 for the questions, 4 for the specialists, in flight together, and 1 for the synthesis.
"""

from __future__ import annotations

from typing import Any

from orca_engine.decisions import WORDS, Decision, decide, members
from orca_engine.forms import object_of, phrase
from orca_engine.machine import all_of
from orca_engine.made import made_agents, refuse_their_names
from orca_engine.swarm import Ended, Swarm, broken, is_over, last_word, told
from orca_engine.swarm_type import LeadRole, SwarmType

_PROMPTS = {
    "Research": "You gather the facts and sources that a question needs, and say how sure each one is.",
    "Analysis": "You find patterns, causes and consequences, and reason step by step.",
    "Alternatives": "You look for other options and other views, and weigh them against each other.",
    "Verification": "You check claims and assumptions, and say what holds, what does not and what is unknown.",
}
_ROLE = LeadRole("Lead", "You take a hard task apart into questions, and put the answers together again.")
_QUESTION = """Write one question about the task for each of four specialists: research, analysis, alternatives and verification.
Answer with one JSON object and nothing else, of this form:
{"research": "…", "analysis": "…", "alternatives": "…", "verification": "…"}"""
_FORM = object_of(**{name.lower(): phrase() for name in _PROMPTS})
_SYNTHESIS = "Write the final answer to the task from what the specialists have found. Say where they disagree."


async def heavy(swarm: Swarm) -> Ended:
    """Ask, answer, put together."""
    opening = swarm.opening()
    questions = await decide(swarm, swarm.lead, opening, _QUESTION, _questions, _FORM, loop=1, step=0)
    if not isinstance(questions, Decision):
        return broken(opening.plus([questions]))
    shown = "\n".join(f"- {name}: {question}" for name, question in questions.value.items())
    turns = await all_of(
        swarm.visit(agent, opening, loop=1, step=2, place=place, after=told(f"Your question: {questions.value[agent.agent_name]}"))
        for place, agent in enumerate(made_agents(swarm.spec, _PROMPTS))
    )
    transcript = opening.plus([questions.turn.saying(shown)]).plus(turns)
    if is_over(transcript):
        return broken(transcript)
    return await last_word(swarm, swarm.lead, transcript, _SYNTHESIS, loop=1, step=3)


def _questions(document: Any) -> dict[str, str]:
    given = members(document, "answer", {name.lower(): WORDS for name in _PROMPTS})
    return {name: given[name.lower()] for name in _PROMPTS}


HEAVY = SwarmType(
    run=heavy,
    visits=lambda spec: [(agent, 1) for agent in made_agents(spec, _PROMPTS)],
    agents=(0, 0),
    lead=_ROLE,
    lead_visits=lambda spec: 3,
    uses=frozenset({"lead"}),
    has_loops=False,
    check=lambda spec: refuse_their_names(spec, _PROMPTS),
)
