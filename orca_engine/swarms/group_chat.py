"""GroupChat: a conversation; everybody reads all that was said.

``max_loops`` rounds, in each of which every agent speaks once in listed order. Whoever finds that nothing is left to say ends
the chat by ending a message with the marker ``[END OF CHAT]``. An agent that fails misses its turn; a round in which nobody
answers ends the run. Calls: max_loops x the sum of the agents' own loops, one after the other.

With ``speaker_selection: bidding`` there are ``max_loops`` messages instead. For each one all agents bid at once, as one JSON
object with a score from 0 to 1 and their message; the highest score above 0.5 speaks (0.3 less for whoever spoke last, the
first listed of equals), and the other messages are thrown away. When nobody bids enough the chat ends, and a note says so; a
chat in which nobody ever spoke is an error. Calls: 2 x max_loops x the sum of the agents' own loops, if every bid needs repair.
"""

from __future__ import annotations

from typing import Any

from orca_engine.decisions import NUMBER, TEXT, Decision, Unreadable, decide, members
from orca_engine.discussion import Discussion, discuss
from orca_engine.forms import SCORE, object_of, phrase
from orca_engine.machine import all_of
from orca_engine.swarm import Ended, Swarm, ended, was_stopped
from orca_engine.swarm_type import SwarmType, every_agent
from orca_engine.transcript import Transcript, Turn
from orca_protocol.errors import InvalidError
from orca_protocol.output import Note
from orca_protocol.spec import AgentSpec, SwarmSpec

_FORM = object_of(score=SCORE, message=phrase())
END_OF_CHAT = "[END OF CHAT]"
_ENOUGH = 0.5
_JUST_SPOKE = 0.3

_BID = """Do you want to say the next message? Answer with one JSON object and nothing else, of this form:
{"score": how much the chat needs your message now, from 0 to 1, "message": "what you would say"}"""


def is_bidding(spec: SwarmSpec) -> bool:
    """Whether agents bid for each message."""
    return spec.speaker_selection == "bidding"


async def group_chat(swarm: Swarm) -> Ended:
    """Let the agents talk."""
    if is_bidding(swarm.spec):
        return await _auction(swarm)
    return await discuss(
        swarm, Discussion(lambda place: _invitation(swarm, place), is_end=lambda text: text.rstrip().endswith(END_OF_CHAT))
    )


def _invitation(swarm: Swarm, place: int) -> str:
    return (
        f"{_setting(swarm, swarm.agents[place])} Say your next message in this chat, and nothing else. "
        f"If nothing is left to say after it, end it with {END_OF_CHAT}"
    )


def _setting(swarm: Swarm, agent: AgentSpec) -> str:
    purpose = f" Its purpose: {swarm.spec.description}" if swarm.spec.description else ""
    name = f" “{swarm.spec.name}”" if swarm.spec.name else ""
    names = ", ".join(each.agent_name for each in swarm.agents)
    return f"This is the group chat{name} of {names}.{purpose} You are {agent.agent_name}."


async def _auction(swarm: Swarm) -> Ended:
    transcript, last = swarm.opening(), ""
    for loop in swarm.loops:
        bids = await all_of(_bid(swarm, place, transcript, loop) for place in range(len(swarm.agents)))
        speaker = _best([bid for bid in bids if isinstance(bid, Decision)], last)
        step = [
            bid if isinstance(bid, Turn) else bid.turn.saying(bid.value[1])
            for bid in bids
            if isinstance(bid, Turn) or bid is speaker
        ]
        transcript = transcript.plus(step) if step else transcript
        if was_stopped(step):
            break
        if speaker is None:
            return ended(
                transcript, Note(code="nobody_spoke", detail=f"nobody bid more than {_ENOUGH} for message {loop}: the chat ended")
            )
        last = speaker.turn.name
    return ended(transcript)


async def _bid(swarm: Swarm, place: int, transcript: Transcript, loop: int) -> Decision[tuple[float, str]] | Turn:
    agent = swarm.agents[place]
    return await decide(
        swarm,
        agent,
        transcript,
        f"{_setting(swarm, agent)} {_BID}",
        _read_bid,
        object_of(score=SCORE, message=phrase()),
        loop=loop,
        step=0,
        place=place,
    )


def _read_bid(document: Any) -> tuple[float, str]:
    bid = members(document, "answer", {"score": NUMBER, "message": TEXT})
    if not 0 <= bid["score"] <= 1:
        raise Unreadable("answer.score must be from 0 to 1.")
    if bid["score"] > _ENOUGH and not bid["message"].strip():  # who bids less has nothing to say, and may leave it out
        raise Unreadable("answer.message must not be blank where answer.score is more than 0.5.")
    return float(bid["score"]), bid["message"]


def _check(spec: SwarmSpec) -> None:
    """A bid has a form of its own, which leaves no room for another one."""
    for index, agent in enumerate(spec.agents if is_bidding(spec) else ()):
        for field in ("response_schema", "tools_list_dictionary"):
            if getattr(agent, field) is not None:
                raise InvalidError("field_without_use", f"agents[{index}].{field}: agents that bid answer as a bid; leave it out")


def _best(bids: list[Decision[tuple[float, str]]], last: str) -> Decision[tuple[float, str]] | None:
    scores = [bid.value[0] - (_JUST_SPOKE if bid.turn.name == last else 0) for bid in bids]
    most = max(scores, default=0.0)
    return bids[scores.index(most)] if most > _ENOUGH else None


GROUP_CHAT = SwarmType(
    run=group_chat,
    visits=every_agent(lambda spec: spec.max_loops * (2 if is_bidding(spec) else 1)),
    agents=(2, None),
    check=_check,
    uses=frozenset({"speaker_selection"}),
)
