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
from orca_protocol.canonical import digest_of
from orca_protocol.journal import Entry, Outcome, Path, Stop, entry_for, journal_bytes
from orca_protocol.model import Answer, Failure, ModelIdentity, Usage
from orca_protocol.output import Output


def agent(name: str, **fields: Any) -> dict[str, Any]:
    return {"agent_name": name, "model_name": "m", "system_prompt": f"You are {name}.", **fields}


def item_of(**fields: Any) -> Item:
    return Item.local(json.dumps({"task": "TASK", **fields}).encode())


def out(call: Call) -> Outcome:
    """The answer that a world without trouble gives: it names the agent and the path."""
    return Answer(
        content=f"out({call.name},{call.path})",
        finish_reason="stop",
        model=ModelIdentity(provider="scripted", model=call.request.model),
        usage=Usage(input_tokens=len(call.request.messages), output_tokens=3),
    )


def failing(*names: str) -> Callable[[Call], Outcome]:
    return lambda call: Failure(code="scripted", detail=f"{call.name} fails") if call.name in names else out(call)


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
