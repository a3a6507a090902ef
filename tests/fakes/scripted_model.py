"""A model provider without a network: replies by a function, failures and latencies by plain attributes, calls counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from orca_agent.models.base import NO_IMAGES, Deltas, Images
from orca_protocol.errors import OrcaError
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, ToolCall, Usage

Reply = Callable[[str, ModelRequest], str]
_AGENT = re.compile(r"AGENT:([^\s,;.]+)")


def agent_of(request: ModelRequest) -> str:
    """Return the name behind ``AGENT:`` in the system prompt, ``?`` if there is none."""
    system = "\n".join(message.content for message in request.messages if message.role == "system")
    found = _AGENT.search(system)
    return found.group(1) if found else "?"


@dataclass(frozen=True)
class Call:
    """One call as it came in."""

    agent: str
    model: str
    request: ModelRequest


class ScriptedModel:
    """Implements ``Provider``. Without a ``reply`` the k-th answer to an agent is ``out(<agent>,<k>)``.

    ``failures[agent]`` is a list of errors to raise, one per call, before answers begin; ``latency[agent]`` (or ``latency["*"]``)
    is in seconds. With deltas wanted, the reply arrives word by word.
    """

    def __init__(self, reply: Reply | None = None, *, names: tuple[str, ...] = ("scripted",), name: str = "scripted") -> None:
        self.reply = reply
        self.names = names
        #: by agent, what its next answers want called
        self.tool_calls: dict[str, list[tuple[ToolCall, ...]]] = {}
        #: the bytes of every image that came with a call
        self.images: list[Images] = []
        self.latency: dict[str, float] = {}
        self.failures: dict[str, list[OrcaError]] = {}
        self.listing_error: OrcaError | None = None
        self.calls: list[Call] = []
        self.answered: dict[str, int] = {}
        self.in_flight = 0
        self.max_in_flight = 0
        self.is_closed = False
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def models(self) -> tuple[str, ...]:
        if self.listing_error is not None:
            raise self.listing_error
        return self.names

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        agent = agent_of(request)
        self.calls.append(Call(agent, model, request))
        self.images.append(dict(images))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency.get(agent, self.latency.get("*", 0.0)))
        finally:
            self.in_flight -= 1
        waiting = self.failures.get(agent)
        if waiting:
            raise waiting.pop(0)
        return self._answer(agent, model, request, on_delta)

    async def close(self) -> None:
        self.is_closed = True

    def _answer(self, agent: str, model: str, request: ModelRequest, on_delta: Deltas | None) -> Answer:
        k = self.answered[agent] = self.answered.get(agent, 0) + 1
        text = f"out({agent},{k})" if self.reply is None else self.reply(model, request)
        for piece in re.findall(r"\S+\s*|\s+", text) if on_delta is not None else ():
            if on_delta is not None:
                on_delta(piece)
        asked = sum(len(message.content.split()) for message in request.messages)
        return Answer(
            content=text,
            finish_reason="stop",
            model=ModelIdentity(provider=self.name, model=model),
            usage=Usage(input_tokens=asked, output_tokens=len(text.split())),
            tool_calls=wanted.pop(0) if (wanted := self.tool_calls.get(agent)) else None,
        )
