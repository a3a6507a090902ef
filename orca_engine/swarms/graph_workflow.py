"""GraphWorkflow: agents as nodes of a graph without cycles; an edge lets its target read its source.

Nodes are the agents, or ``nodes``, where one agent may stand at several. An edge is open when its source has answered and its
``condition`` holds for that answer. A node runs when one of its edges is open, or none leads to it, once all its sources are
settled; it reads the task and the answers of all nodes it descends from by open edges. A node without an open edge is skipped,
and a note says so. ``max_loops`` passes over the graph; a later one reads everything of the passes before. The result is what
nobody read on: where failures leave no such answer the run is an error.
Calls: max_loops x the nodes' own loops; a layer's nodes in flight together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from orca_engine.graph import Node, layers_of
from orca_engine.machine import all_of
from orca_engine.swarm import Ended, Swarm, broken, ended, was_stopped
from orca_engine.swarm_type import SwarmType, Visits
from orca_engine.transcript import Transcript, Turn
from orca_protocol.output import Note
from orca_protocol.spec import EdgeSpec, SwarmSpec


async def graph_workflow(swarm: Swarm) -> Ended:
    """Run the graph, layer by layer."""
    layers = layers_of(swarm.spec)
    past = swarm.opening()
    notes: list[Note] = []
    for loop in swarm.loops:
        said: dict[str, Turn] = {}
        heard: dict[str, set[str]] = {}
        read_on: set[str] = set()
        for step, layer in enumerate(layers):
            for node in layer:
                sources = {edge.source for edge in node.edges if _is_open(edge, said)}
                if node.edges and not sources:
                    notes.append(Note(code="node_skipped", detail=f"loop {loop}: no open edge led to {node.name}"))
                    continue
                heard[node.name] = sources.union(*(heard[source] for source in sources))
                read_on |= sources
            running = [node for node in layer if node.name in heard]
            turns = await all_of(
                swarm.visit(node.agent, _seen(past, said, heard[node.name]), loop=loop, step=step, place=place)
                for place, node in enumerate(running)
            )
            said |= {node.name: turn for node, turn in zip(running, turns, strict=True)}
            if was_stopped(turns):
                return ended(past.plus(said.values()), *notes)
        results = [turn for name, turn in said.items() if name not in read_on]
        past = past.plus(said.values()).ending_with(results)
        if not any(turn.text is not None for turn in results):
            return broken(past, *notes)
    return ended(past, *notes)


def _is_open(edge: EdgeSpec, said: Mapping[str, Turn]) -> bool:
    text = said[edge.source].text if edge.source in said else None
    return text is not None and (edge.condition is None or edge.condition.holds(text))


def _seen(past: Transcript, said: Mapping[str, Turn], names: set[str]) -> Transcript:
    return past.plus(turn for name, turn in said.items() if name in names)


def _visits(spec: SwarmSpec) -> Visits:
    nodes: list[Node] = [node for layer in layers_of(spec) for node in layer]
    named = Counter(node.agent.agent_name for node in nodes)
    return [(agent, spec.max_loops * named[agent.agent_name]) for agent in spec.agents]


GRAPH_WORKFLOW = SwarmType(run=graph_workflow, visits=_visits, uses=frozenset({"nodes", "edges"}))
