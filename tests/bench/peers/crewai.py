"""CrewAI: a crew for each agent that works at once, one crew of all for those in a line; one LLM object for all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from crewai import LLM, Agent, Crew, Process, Task

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """One LLM for all agents."""
    llm = LLM(model="openai/scripted", base_url=base_url, api_key="none", temperature=0.5, max_tokens=256)

    def crew(numbers: range) -> Any:
        agents = [Agent(role=f"A{number}", goal=TASK, backstory=instructions(number), llm=llm) for number in numbers]
        tasks = [Task(description=TASK, expected_output="a paragraph", agent=agent) for agent in agents]
        return Crew(agents=agents, tasks=tasks, process=Process.sequential, verbose=False, tracing=False)

    async def speak(number: int) -> str:
        return str((await crew(range(number, number + 1)).akickoff()).raw)

    async def concurrent(agents: int) -> Sequence[str]:
        return await asyncio.gather(*map(speak, range(agents)))

    async def sequential(agents: int) -> Sequence[str]:
        done = await crew(range(agents)).akickoff()
        return [str(output.raw) for output in done.tasks_output]

    return Peer(concurrent, sequential)


if __name__ == "__main__":
    main(make)
