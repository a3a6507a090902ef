"""AutoGen AgentChat: assistants that run at once, or a round-robin team; one client for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

from tests.bench.peers.measuring import TASK, Peer, instructions, main

_ABILITIES = {"vision": False, "function_calling": False, "json_output": False, "structured_output": False, "family": "unknown"}


def make(base_url: str) -> Peer:
    """One client for all agents."""
    client: Any = OpenAIChatCompletionClient(
        model="scripted", base_url=base_url, api_key="none", temperature=0.5, max_tokens=256, model_info=_ABILITIES
    )

    def agent(number: int) -> Any:
        return AssistantAgent(f"A{number}", model_client=client, system_message=instructions(number))

    async def speak(number: int) -> str:
        return str((await agent(number).run(task=TASK)).messages[-1].content)

    async def concurrent(agents: int) -> Sequence[str]:
        return await asyncio.gather(*map(speak, range(agents)))

    async def sequential(agents: int) -> Sequence[str]:
        team = RoundRobinGroupChat([agent(each) for each in range(agents)], termination_condition=MaxMessageTermination(agents + 1))
        return [str(message.content) for message in (await team.run(task=TASK)).messages[1:]]

    return Peer(concurrent, sequential)


if __name__ == "__main__":
    main(make)
