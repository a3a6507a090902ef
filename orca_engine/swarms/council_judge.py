"""CouncilAsAJudge: six judges look at one text, each at one quality, and the council's head sums up.

The text is the task. Judges and head have ``lead``'s model, so that the spec names it and lists no agents. The judges see the text
alone; the head reads all of them. A failed judge is left out; without any judge, or without the head, the run is an error.
Calls: 6 for the judges, in flight together, and 1 for the head.
"""

from __future__ import annotations

from orca_engine.made import made_agents, refuse_their_names
from orca_engine.swarm import Ended, Swarm, broken, is_over, last_word
from orca_engine.swarm_type import LeadRole, SwarmType

_QUALITIES = {
    "Accuracy": "whether what it says is true and supported",
    "Helpfulness": "whether it helps whoever it is for, with what they need",
    "Harmlessness": "whether it is safe, fair and free of harm",
    "Coherence": "whether it is well ordered, and its parts agree with each other",
    "Conciseness": "whether it says what it must without waste",
    "Instruction Adherence": "whether it keeps to what was asked, in content and form",
}
_PROMPTS = {
    f"{quality} Judge": f"You judge a text by its {quality.lower()} alone: {meaning}. Name strengths and faults with the words "
    "that show them, and give a mark from 1 to 10."
    for quality, meaning in _QUALITIES.items()
}
_ROLE = LeadRole("Council", "You head a council of judges, and sum up what they find into one fair judgement.")
_SUM_UP = "Sum up the judgements above into one: what is good, what is wrong, what to change, and an overall mark from 1 to 10."


async def council_judge(swarm: Swarm) -> Ended:
    """Judge, sum up."""
    opening = swarm.opening()
    transcript = opening.plus(await swarm.panel(made_agents(swarm.spec, _PROMPTS), opening, loop=1, step=0))
    if is_over(transcript):
        return broken(transcript)
    return await last_word(swarm, swarm.lead, transcript, _SUM_UP, loop=1, step=1)


COUNCIL_JUDGE = SwarmType(
    run=council_judge,
    visits=lambda spec: [(agent, 1) for agent in made_agents(spec, _PROMPTS)],
    agents=(0, 0),
    lead=_ROLE,
    lead_visits=lambda spec: 1,
    uses=frozenset({"lead"}),
    has_loops=False,
    check=lambda spec: refuse_their_names(spec, _PROMPTS),
)
