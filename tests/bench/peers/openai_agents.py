"""OpenAI Agents SDK: an agent and a run for each; one client for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner
from openai import AsyncOpenAI

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """One client for all agents."""
    model = OpenAIChatCompletionsModel(
        model="scripted", openai_client=AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
    )

    async def speak(number: int, told: str) -> str:
        settings = ModelSettings(temperature=0.5, max_tokens=256)
        agent = Agent(name=f"A{number}", instructions=instructions(number), model=model, model_settings=settings)
        return str((await Runner.run(agent, told)).final_output)

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
