"""swarms: its ConcurrentWorkflow and SequentialWorkflow, in the thread where its users call them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from swarms import Agent, ConcurrentWorkflow, SequentialWorkflow

from tests.bench.peers.measuring import TASK, Peer, instructions, main


def make(base_url: str) -> Peer:
    """LiteLLM takes any OpenAI-compatible server under ``openai/``."""

    def agents_of(count: int) -> list[Any]:
        how = {"model_name": "openai/scripted", "llm_base_url": base_url, "llm_api_key": "none", "max_loops": 1}
        how |= {
            "max_tokens": 256,
            "temperature": 0.5,
            "print_on": False,
            "verbose": False,
            "autosave": False,
            "context_length": 8192,
        }
        return [Agent(agent_name=f"A{number}", system_prompt=instructions(number), **how) for number in range(count)]

    def said(workflow: Any, count: int) -> list[str]:
        history = workflow.conversation.conversation_history
        return [str(turn["content"]) for turn in history if str(turn["role"]).startswith("A")][-count:]

    def run_at_once(count: int) -> list[str]:
        workflow = ConcurrentWorkflow(agents=agents_of(count), autosave=False, max_workers=count)
        workflow.run(TASK)
        return said(workflow, count)

    def run_in_line(count: int) -> list[str]:
        workflow = SequentialWorkflow(agents=agents_of(count), autosave=False)
        workflow.run(TASK)
        return said(workflow.agent_rearrange, count)

    async def concurrent(agents: int) -> Sequence[str]:
        return await asyncio.to_thread(run_at_once, agents)

    async def sequential(agents: int) -> Sequence[str]:
        return await asyncio.to_thread(run_in_line, agents)

    return Peer(concurrent, sequential)


if __name__ == "__main__":
    main(make)
