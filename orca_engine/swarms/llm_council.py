"""LLMCouncil: all agents answer, all rank the answers without knowing whose they are, a chairman writes the final one.

The chairman is ``lead`` (without one: a separate agent with the last agent's model); it reads answers and rankings, and is told
whose each answer is. A failed answer is not ranked, a failed ranking is left out; without any answer, or without the
chairman's, the run ends as an error.
Calls: 2 x the sum of the agents' own loops, and 1 for the chairman; answers in flight together, and then rankings.
"""

from __future__ import annotations

from orca_engine.swarm import Ended, Swarm, broken, ended, is_over, last_word, told, was_stopped
from orca_engine.swarm_type import LeadRole, SwarmType, every_agent

_ROLE = LeadRole("Chairman", "You chair a council of agents and write its final answer.", "last")
_RANK = "Several agents have answered the task. Rank their answers by number, from best to worst, with a reason for each place.\n\n"
_CHAIR = "Write the council's final answer to the task from the answers above and how they were ranked. "


async def llm_council(swarm: Swarm) -> Ended:
    """Answer, rank, conclude."""
    opening = swarm.opening()
    answers = await swarm.panel(swarm.agents, opening, loop=1, step=0)
    transcript = opening.plus(answers)
    if is_over(transcript):
        return broken(transcript)
    given = [turn for turn in answers if turn.text is not None]
    anonymous = "\n\n".join(f"Answer {number}:\n{turn.text}" for number, turn in enumerate(given, start=1))
    rankings = await swarm.panel(swarm.agents, opening, loop=1, step=1, after=told(_RANK + anonymous))
    transcript = transcript.plus(rankings)
    if was_stopped(rankings):
        return ended(transcript)
    key = " ".join(f"Answer {number} is by {turn.name}." for number, turn in enumerate(given, start=1))
    return await last_word(swarm, swarm.lead, transcript, _CHAIR + key, loop=1, step=2)


LLM_COUNCIL = SwarmType(
    run=llm_council,
    visits=every_agent(lambda spec: 2),
    agents=(2, None),
    lead=_ROLE,
    lead_visits=lambda spec: 1,
    uses=frozenset({"lead"}),
    has_loops=False,
)
