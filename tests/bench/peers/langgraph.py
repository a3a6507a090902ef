"""LangGraph: a graph with a node for each agent, side by side or in a line; one chat model for all."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

from tests.bench.peers.measuring import TASK, Peer, instructions, main


class State(TypedDict):
    """What the nodes share."""

    said: Annotated[list[str], operator.add]


def make(base_url: str) -> Peer:
    """One model for all nodes."""
    model = ChatOpenAI(model="scripted", base_url=base_url, api_key="none", temperature=0.5, max_tokens=256, max_retries=0)

    def node(number: int) -> Callable[[State], Awaitable[dict[str, list[str]]]]:
        async def speak(state: State) -> dict[str, list[str]]:
            answer = await model.ainvoke([("system", instructions(number)), ("user", "\n".join([TASK, *state["said"]]))])
            return {"said": [str(answer.content)]}

        return speak

    async def run(agents: int, *, in_line: bool) -> Sequence[str]:
        graph: Any = StateGraph(State)
        for number in range(agents):
            graph.add_node(f"A{number}", node(number))
            graph.add_edge(f"A{number - 1}" if in_line and number else START, f"A{number}")
            if not in_line or number == agents - 1:
                graph.add_edge(f"A{number}", END)
        return list((await graph.compile().ainvoke({"said": []}, {"recursion_limit": agents + 5}))["said"])

    return Peer(lambda agents: run(agents, in_line=False), lambda agents: run(agents, in_line=True))


if __name__ == "__main__":
    main(make)
