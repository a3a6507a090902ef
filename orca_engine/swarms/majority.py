"""MajorityVoting: all agents answer blind to each other, then a consensus agent reads the answers and says what most of them say.

``max_loops`` rounds: a later one reads the answers and the consensus before. The consensus is a model's judgement by ``lead``
(without one: a separate agent with the last agent's model). Quorum: more than half of the voters must have answered, else the
run ends as an error; a failed voter has no vote. With ``voting: exact`` equal answers are counted instead, blanks around them
aside, and no model is asked: most votes win, on a tie the answer whose first voter is listed first, and a note says so.
Calls: max_loops x (the voters', and 1 for the consensus); a round's voters in flight together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from orca_engine.swarm import Ended, Swarm, broken, ended, is_over, told, was_stopped
from orca_engine.swarm_type import LeadRole, SwarmType, every_agent, in_every_loop
from orca_engine.transcript import Said, Turn
from orca_protocol.errors import InvalidError
from orca_protocol.output import Note, VoteCount
from orca_protocol.spec import SwarmSpec

_ROLE = LeadRole("Consensus-Agent", "You find what a group of agents agrees on. You judge by answers, not by names.", "last")
_CONSENSUS = (
    "The answers above are votes on the task. Say which answer the majority gives, in one final answer to the task. "
    "Where they differ, say what speaks for the majority's."
)


async def majority(swarm: Swarm) -> Ended:
    """Vote in rounds."""
    transcript = swarm.opening()
    votes: tuple[VoteCount, ...] = ()
    for loop in swarm.loops:
        turns = await swarm.panel(swarm.agents, transcript, loop=loop, step=0)
        transcript = transcript.plus(turns)
        answered = sum(turn.text is not None for turn in turns)
        if was_stopped(turns):
            return ended(transcript)
        if 2 * answered <= len(turns):
            return broken(
                transcript, Note(code="no_quorum", detail=f"{answered} of {len(turns)} voters answered; more than half must")
            )
        if _is_counted(swarm.spec):
            votes = _count(turns)
            transcript = transcript.plus([Turn(swarm.lead.agent_name, Said(votes[0].answer))])
        else:
            transcript = transcript.plus([await swarm.visit(swarm.lead, transcript, loop=loop, step=1, after=told(_CONSENSUS))])
        if is_over(transcript):
            return broken(transcript)
    return replace(ended(transcript, *_ties(votes)), votes=votes or None)


def _is_counted(spec: SwarmSpec) -> bool:
    return spec.voting == "exact"


def _count(turns: Sequence[Turn]) -> tuple[VoteCount, ...]:
    answers = Counter(turn.text.strip() for turn in turns if turn.text is not None)
    return tuple(VoteCount(answer=answer, votes=votes) for answer, votes in answers.most_common())  # a tie keeps listed order


def _ties(votes: Sequence[VoteCount]) -> list[Note]:
    best = [vote for vote in votes if vote.votes == votes[0].votes]
    detail = f"{len(best)} answers have {best[0].votes} votes each; the one whose first voter is listed first wins" if best else ""
    return [Note(code="tie", detail=detail)] if len(best) > 1 else []


def _check(spec: SwarmSpec) -> None:
    if _is_counted(spec) and spec.lead is not None:
        raise InvalidError("field_without_use", "lead: with voting exact the answers are counted, and no model has the last word")


MAJORITY = SwarmType(
    run=majority,
    visits=every_agent(in_every_loop),
    lead=_ROLE,
    lead_visits=lambda spec: 0 if _is_counted(spec) else spec.max_loops,
    uses=frozenset({"lead", "voting"}),
    check=_check,
)
