"""Pydantic AI: an agent and a run for each; one provider for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """One model for all agents."""
    model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=base_url, api_key="none"))

    async def speak(number: int, told: str) -> str:
        settings: Any = {"temperature": 0.5, "max_tokens": 256}
        agent: Any = Agent(model, name=f"A{number}", instructions=instructions(number), model_settings=settings)
        return str((await agent.run(told)).output)

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
