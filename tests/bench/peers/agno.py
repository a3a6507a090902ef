"""Agno: an agent for each; one model object for all (an object for each, as its documentation shows, is eight times slower)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agno.agent import Agent
from agno.models.openai.like import OpenAILike

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """One model for all agents."""
    model = OpenAILike(id="scripted", base_url=base_url, api_key="none", temperature=0.5, max_tokens=256)

    async def speak(number: int, told: str) -> str:
        agent = Agent(name=f"A{number}", instructions=instructions(number), model=model, telemetry=False)
        return str((await agent.arun(told)).content)

    async def concurrent(agents: int) -> Sequence[str]:
        return await asyncio.gather(*(speak(number, TASK) for number in range(agents)))

    async def sequential(agents: int) -> Sequence[str]:
        said: list[str] = []
        for number in range(agents):
            said.append(await speak(number, "\n".join([TASK, *said])))
        return said

    return Peer(concurrent, sequential)


if __name__ == "__main__":
    main(make)
