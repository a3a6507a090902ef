"""One visit to one agent: its own loops, the tools it calls on the way, and an answer that must have a form.

A loop ends with an answer. Before it the agent may call tools, for as many rounds as it has; and an answer that does not fulfil
the agent's schema is pointed out to it once. The agent reads what it said and what its tools returned within the visit; of all
that only the last answer leaves it. A call that failed, or a stop, ends the visit. So does a budget of which not enough is left
for the next call: then nothing more is asked, and the outcome is a stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orca_engine import schema, tools
from orca_engine.forms import Form
from orca_engine.item import Item
from orca_engine.ledger import Allowance
from orca_engine.machine import Call, all_of, ask, ask_model
from orca_engine.tools import Toolbox, rounds_of, told
from orca_engine.transcript import Transcript, messages_for
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure, Message, ModelRequest, ToolCall, ToolDefinition
from orca_protocol.spec import AgentSpec
from orca_protocol.world import ToolRequest


@dataclass(frozen=True, slots=True)
class Speaker:
    """An agent that is ready to speak: its system message is written and its tools are known."""

    agent: AgentSpec
    system: str | None
    toolbox: Toolbox = field(default_factory=Toolbox)


def calls_of(agent: AgentSpec) -> int:
    """Return how many calls of its model one visit makes at most."""
    return agent.max_loops * (1 + rounds_of(agent) + (agent.response_schema is not None))


def tool_calls_of(agent: AgentSpec) -> int:
    """Return how many tools one visit calls at most."""
    return agent.max_loops * rounds_of(agent) * tools.CALLS_AT_ONCE


class Visit:
    """One visit; ``place`` is the path of its first call. With a ``form`` it is a decision: its form is the asker's business."""

    def __init__(
        self,
        item: Item,
        speaker: Speaker,
        place: Path,
        transcript: Transcript,
        after: Sequence[Message] = (),
        form: Form | None = None,
    ) -> None:
        self._item = item
        self._speaker = speaker
        self._place = place
        self._transcript = transcript
        self._after = after
        self._form = None if form is None else dict(form)
        self._schema = speaker.agent.response_schema if form is None else None
        self._turn = 0
        self._own: list[Message] = []

    @property
    def agent(self) -> AgentSpec:
        """Who is visited."""
        return self._speaker.agent

    def request(self) -> ModelRequest:
        """Return what the agent's model is asked next."""
        agent, toolbox = self._speaker.agent, self._speaker.toolbox
        messages = messages_for(agent.agent_name, self._speaker.system, self._transcript, self._after, self._own)
        return request_for(
            self._item,
            agent,
            self._path(),
            messages,
            tools=toolbox.tools or None,
            schema=self._schema,
            form=self._form,
        )

    async def outcome(self, allowance: Allowance) -> Answer | Failure | Stop:
        """Return the agent's last answer, or why there is none."""
        loops = self._speaker.agent.max_loops
        while True:
            outcome = await self._answered(allowance)
            loops -= 1
            if not isinstance(outcome, Answer) or not loops or self._speaker.toolbox.ends_with(outcome.tool_calls or ()):
                return outcome
            if outcome.content.strip():  # providers take no empty message
                self._own.append(Message(role="assistant", content=outcome.content))

    async def _answered(self, allowance: Allowance) -> Answer | Failure | Stop:
        rounds, repairs = rounds_of(self._speaker.agent), 1
        while True:
            outcome = await self._ask(allowance)
            if not isinstance(outcome, Answer):
                return outcome
            calls = outcome.tool_calls or ()
            if self._speaker.toolbox.ends_with(calls):
                return outcome
            if calls:
                if not self._speaker.agent.sources:
                    return Failure(code="function_unknown", detail=self._speaker.toolbox.unknown(calls))
                if not rounds:
                    return Failure(code="tool_rounds", detail="the agent still called tools when its rounds of them were used up")
                rounds -= 1
                stop = await self._use(outcome, calls)
                if stop is not None:
                    return stop
                continue
            wrong = None if self._schema is None else schema.difference(outcome.content, self._schema)
            if wrong is None:
                return outcome
            if not repairs:
                return Failure(code="schema_unfulfilled", detail=f"after one repair question still: {wrong}")
            repairs -= 1
            self._repair(outcome.content, wrong)

    async def _ask(self, allowance: Allowance) -> Answer | Failure | Stop:
        request = self.request()
        if not allowance.covers(request):
            return Stop(reason="budget")
        outcome = await ask_model(Call(self._path(), self._speaker.agent.agent_name, request))
        allowance.charge(request, outcome)
        self._turn += 1
        return outcome

    async def _use(self, answer: Answer, calls: Sequence[ToolCall]) -> Stop | None:
        asked = self._speaker.toolbox.asked(calls)
        outcomes = await all_of(self._called(tool, place) for place, tool in enumerate(asked, start=1))
        stop = next((outcome for outcome in outcomes if isinstance(outcome, Stop)), None)
        if stop is None:
            self._own.append(Message(role="assistant", content=answer.content, tool_calls=tuple(calls)))
            self._own.extend(told(call, outcome) for call, outcome in zip(calls, outcomes, strict=True))
        return stop

    async def _called(self, tool: ToolRequest | str, place: int) -> Outcome | str:
        if isinstance(tool, str):
            return tool
        path = self._place._replace(turn=self._turn - 1, tool=place)
        return await ask(Call(path, self._speaker.agent.agent_name, tool))

    def _repair(self, said: str, wrong: str) -> None:
        if said.strip():  # providers take no empty message
            self._own.append(Message(role="assistant", content=said))
        self._own.append(Message(role="user", content=f"{wrong} Answer again, with the JSON alone."))

    def _path(self) -> Path:
        return self._place._replace(turn=self._turn) if self._turn else self._place


def request_for(
    item: Item,
    agent: AgentSpec,
    path: Path,
    messages: tuple[Message, ...],
    *,
    tools: tuple[ToolDefinition, ...] | None = None,
    schema: dict[str, Any] | None = None,
    form: dict[str, Any] | None = None,
) -> ModelRequest:
    """Return the provider-neutral request of one call; what it is made of was admitted with the spec."""
    return ModelRequest.made_of(
        {
            "model": agent.model_name,
            "messages": messages,
            "max_tokens": agent.max_tokens,
            "temperature": agent.temperature,
            "seed": item.seed(path),
            "tools": tools,
            "response_schema": schema,
            "form": form,
            "logprobs": agent.logprobs or None,
        }
    )
