"""A discussion in rounds: every agent speaks once a round in listed order, and reads everything said before.

An agent that fails misses its turn. A round in which nobody answers, or a stop, ends the run as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orca_engine.swarm import Ended, Swarm, ended, told, was_stopped
from orca_engine.transcript import Turn


@dataclass(frozen=True, slots=True)
class Discussion:
    """How one is held: what the agent at a place is told, and which message ends it."""

    invitation: Callable[[int], str]
    is_end: Callable[[str], bool] = lambda text: False


async def discuss(swarm: Swarm, discussion: Discussion) -> Ended:
    """Hold ``discussion`` for the swarm's loops."""
    transcript = swarm.opening()
    for loop in swarm.loops:
        turns: list[Turn] = []
        for place, agent in enumerate(swarm.agents):
            turn = await swarm.visit(agent, transcript, loop=loop, step=place, after=told(discussion.invitation(place)))
            transcript = transcript.plus([turn])
            turns.append(turn)
            if was_stopped([turn]) or (turn.text is not None and discussion.is_end(turn.text)):
                return ended(transcript)
        if all(turn.text is None for turn in turns):
            break
    return ended(transcript)
