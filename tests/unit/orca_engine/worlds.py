"""Worlds to run the engine in: what answers come, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orca_engine.item import Item
from orca_engine.machine import Call, Machine
from orca_engine.program import output_of, program_of
from orca_engine.swarm import Ended
from orca_engine.swarms import SWARMS
from orca_protocol.canonical import digest_of
from orca_protocol.journal import Entry, Outcome, Path, Stop, entry_for, journal_bytes
from orca_protocol.model import Answer, Failure, ModelIdentity, ModelRequest, ToolCall, ToolDefinition, Usage
from orca_protocol.output import Output
from orca_protocol.world import FetchedImage, ImageRequest, Input, InputRequest, Offer, OfferRequest, ToolRequest, ToolResult

OFFER = Offer(tools=(ToolDefinition(name="read", description="reads"), ToolDefinition(name="write")))
IMAGE = FetchedImage.of("image/png", b"an image")


def agent(name: str, **fields: Any) -> dict[str, Any]:
    return {"agent_name": name, "model_name": "m", "system_prompt": f"You are {name}.", **fields}


def item_of(**fields: Any) -> Item:
    return Item.local(json.dumps({"task": "TASK", **fields}).encode())


def prompt(call: Call) -> str:
    """Everything that the model reads."""
    return "\n".join(message.content for message in call.asked.messages)


def out(call: Call) -> Outcome:
    """The answer that a world without trouble gives: it names the agent and the path."""
    match call.request:
        case InputRequest():
            return Input(content=f"input({call.path})")
        case OfferRequest():
            return OFFER
        case ToolRequest(tool=tool):
            return ToolResult.of(f"{tool}({call.path})")
        case ImageRequest():
            return IMAGE
    return Answer(
        content=f"out({call.name},{call.path})",
        finish_reason="stop",
        model=ModelIdentity(provider="scripted", model=call.asked.model),
        usage=Usage(input_tokens=len(call.asked.messages), output_tokens=3),
    )


def calling(call: Call, *tools: tuple[str, str]) -> Outcome:
    """The answer of a model that wants tools called: pairs of a name and arguments."""
    wanted = tuple(ToolCall(id=f"call-{place}", name=name, arguments=arguments) for place, (name, arguments) in enumerate(tools))
    answer = out(call)
    assert isinstance(answer, Answer)
    return answer.model_copy(update={"content": "", "tool_calls": wanted})


def saying(call: Call, text: str) -> Outcome:
    """The answer with other words."""
    answer = out(call)
    assert isinstance(answer, Answer)
    return answer.model_copy(update={"content": text})


def asks(call: Call, marker: str) -> bool:
    """Whether the call is a question of that kind."""
    request = call.request
    return isinstance(request, ModelRequest) and any(
        message.role == "user" and marker in message.content for message in request.messages
    )


LEAD = {"model_name": "lead-model", "max_tokens": 77, "temperature": 0}
TEAM = {
    "swarm_type": "SequentialWorkflow",
    "agents": [{"agent_name": "X", "system_prompt": "You are X."}, {"agent_name": "Y", "system_prompt": "You are Y."}],
}


def deciding(item: Item) -> Callable[[Call], Outcome]:
    """A world in which whoever is asked for a decision makes a good one that uses every agent."""
    names = [each.agent_name for each in item.spec.agents]
    orders = [{"agent_name": name, "task": f"order for {name}"} for name in names]
    decisions: dict[str, Any] = {
        '"handoffs"': {"handoffs": orders},
        '"orders"': {"plan": "the plan", "orders": orders},
        '"score"': {"score": 0.9, "message": "a message"},
        "the name of the way": {"swarm_type": "MajorityVoting"},
        "Design a team": TEAM,
        '"verification"': {name: f"question of {name}" for name in ("research", "analysis", "alternatives", "verification")},
        '{"tasks"': {"tasks": ["first task", "second task"]},
        '"done"': {"done": False, "text": "not yet"},
    }

    def answer(call: Call) -> Outcome:
        for marker, decision in decisions.items():
            if asks(call, marker):
                return saying(call, json.dumps(decision, ensure_ascii=False))
        return out(call)

    return answer


def spec_of(name: str, agents: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """What a spec of the type needs beside the agents, or instead of them; at most what the type allows."""
    names = [json.dumps(each["agent_name"]) for each in agents]
    first = agents[0]["agent_name"]
    by_type: dict[str, dict[str, Any]] = {
        "AgentRearrange": {"rearrange_flow": f"{names[0]} -> {', '.join(names)} -> {names[-1]}"},
        "CouncilAsAJudge": {"agents": [], "lead": LEAD},
        "HeavySwarm": {"agents": [], "lead": LEAD},
        "AutoSwarmBuilder": {"agents": [], "lead": LEAD},
        "BatchedGridWorkflow": {"task": None, "tasks": ["T1", "T2"]},
        "GraphWorkflow": {
            "edges": [
                {"source": first, "target": each["agent_name"], "condition": {"lacks": "x" * (1 + number % 2)}}
                for number, each in enumerate(agents[1:])
            ]
        },
    }
    needs = by_type.get(name, {})
    kind = SWARMS[name]
    loops = {} if kind.has_loops else {"max_loops": 1}
    return {"agents": agents[: kind.agents[1]], "swarm_type": name, **fields, **needs, **loops}


def failing(*names: str, code: str = "scripted") -> Callable[[Call], Outcome]:
    return lambda call: Failure(code=code, detail=f"{call.name} fails") if call.name in names else out(call)


@dataclass
class World:
    """Runs an item to its end; ``order`` picks which of the open calls is answered next, ``stop_after`` cancels."""

    item: Item
    answer: Callable[[Call], Outcome] = out
    order: Callable[[list[Call]], int] = lambda open_calls: 0
    stop_after: int | None = None
    known: Mapping[Path, Entry] = field(default_factory=dict)
    asked: list[Call] = field(default_factory=list)
    most_open: int = 0

    def run(self) -> tuple[list[Entry], Output]:
        machine: Machine[Ended] = Machine(program_of(self.item))
        entries: list[Entry] = []
        open_calls = machine.start()
        while open_calls:
            self.most_open = max(self.most_open, len(open_calls))
            call = open_calls.pop(self.order(open_calls))
            entry = self.known.get(call.path) or self._ask(call, len(entries))
            entries.append(entry)
            open_calls.extend(machine.feed(call.path, entry.outcome))
        return entries, output_of(self.item, machine.result, sorted(entries, key=lambda entry: entry.path))

    def _ask(self, call: Call, answered: int) -> Entry:
        stopped = self.stop_after is not None and answered >= self.stop_after
        outcome = Stop(reason="cancelled") if stopped else self.answer(call)
        if not stopped:
            self.asked.append(call)
        return entry_for(call.path, call.name, call.request, digest_of(call.request.document()), outcome)


def run(item: Item, **world: Any) -> tuple[list[Entry], Output]:
    return World(item, **world).run()


def journal(entries: list[Entry]) -> bytes:
    return journal_bytes(entries)
