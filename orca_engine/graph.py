"""Graphs of agents: nodes, edges with conditions, and the layers in which they run.

A node stands in the layer after the last of its sources. What a spec's graph gets wrong is said with the edge or node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orca_protocol.errors import InvalidError
from orca_protocol.spec import AgentSpec, EdgeSpec, SwarmSpec

#: who reads whom grows with the square of it
NODES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Node:
    """An agent's place, and the edges that lead to it."""

    name: str
    agent: AgentSpec
    edges: tuple[EdgeSpec, ...]


Layers = tuple[tuple[Node, ...], ...]


def layers_of(spec: SwarmSpec) -> Layers:
    """Return the nodes in layers, each in declared order. Raises InvalidError ``graph_…``."""
    if spec.edges is None:
        raise InvalidError("graph_missing", "edges: a graph has edges; give an empty list if every agent stands for itself")
    agents = _agents_of_nodes(spec)
    edges = _edges_in(spec, agents)
    depth = _depths(edges)
    layers: list[list[Node]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name, agent in agents.items():
        layers[depth[name]].append(Node(name, agent, tuple(edges[name])))
    return tuple(map(tuple, layers))


def _depths(edges: Mapping[str, Sequence[EdgeSpec]]) -> dict[str, int]:
    """Return for each node how many nodes stand before it at most."""
    targets: dict[str, list[str]] = {name: [] for name in edges}
    for name, incoming in edges.items():
        for edge in incoming:
            targets[edge.source].append(name)
    open_sources = {name: len(incoming) for name, incoming in edges.items()}
    depth = {name: 0 for name, count in open_sources.items() if not count}
    ready = list(depth)
    for name in ready:  # grows while it is read
        for target in targets[name]:
            open_sources[target] -= 1
            if not open_sources[target]:
                depth[target] = 1 + max(depth[edge.source] for edge in edges[target])
                ready.append(target)
    stuck = [name for name in edges if name not in depth]
    if stuck:
        raise InvalidError("graph_cycle", f"edges: nothing can begin among {', '.join(stuck)}: their edges form a cycle")
    return depth


def _agents_of_nodes(spec: SwarmSpec) -> dict[str, AgentSpec]:
    agents = {agent.agent_name: agent for agent in spec.agents}
    if len(spec.nodes or spec.agents) > NODES_MAX:
        raise InvalidError("graph_too_large", f"nodes: a graph has at most {NODES_MAX}, not {len(spec.nodes or spec.agents)}")
    if spec.nodes is None:
        return agents
    found: dict[str, AgentSpec] = {}
    for index, node in enumerate(spec.nodes):
        if node.agent_name not in agents:
            raise InvalidError(
                "graph_agent_unknown",
                f"nodes[{index}].agent_name: no agent is named {node.agent_name}; agents are {', '.join(agents)}",
            )
        if node.name in found:
            raise InvalidError("graph_node_twice", f"nodes[{index}].name: {node.name} is there already")
        found[node.name] = agents[node.agent_name]
    return found


def _edges_in(spec: SwarmSpec, nodes: Mapping[str, AgentSpec]) -> dict[str, list[EdgeSpec]]:
    edges: dict[str, list[EdgeSpec]] = {name: [] for name in nodes}
    seen: set[tuple[str, str]] = set()
    for index, edge in enumerate(spec.edges or ()):
        for end, name in (("source", edge.source), ("target", edge.target)):
            if name not in edges:
                raise InvalidError(
                    "graph_node_unknown", f"edges[{index}].{end}: no node is named {name}; nodes are {', '.join(edges)}"
                )
        if (edge.source, edge.target) in seen:
            raise InvalidError("graph_edge_twice", f"edges[{index}]: {edge.source} and {edge.target} are joined already")
        seen.add((edge.source, edge.target))
        edges[edge.target].append(edge)
    return edges
