"""A model that talks by a script: piece by piece, waiting where it is told to, breaking off where it is told to."""

from __future__ import annotations

import asyncio

from orca_agent.models.base import NO_IMAGES, Deltas, Images
from orca_protocol.errors import OrcaError
from orca_protocol.model import Answer, ModelRequest, Usage
from tests.fakes.scripted_model import Call, ScriptedModel, agent_of

Script = list["str | asyncio.Event | OrcaError"]


class Talker(ScriptedModel):
    """Each call takes the next of ``scripts``; where there is none, it answers as ``ScriptedModel`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[Script] = []
        #: what every call meets before it is answered
        self.gate: asyncio.Barrier | None = None
        self.has_usage = True
        self.finish_reason = "stop"

    def reset(self) -> None:
        """Forget what was asked, and every script."""
        self.reply, self.listing_error, self.has_usage, self.finish_reason = None, None, True, "stop"
        for kept in (self.latency, self.failures, self.calls, self.answered, self.scripts, self.images, self.tool_calls):
            kept.clear()
        self.gate = None

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        if self.gate is not None:
            await self.gate.wait()
        if not self.scripts:
            answer = await super().complete(model, request, on_delta, images)
        else:
            self.calls.append(Call(agent_of(request), model, request))
            text = await self._talk(self.scripts.pop(0), on_delta)
            usage = Usage(input_tokens=7, output_tokens=len(text.split()))
            answer = self._answer("?", model, request, None).model_copy(update={"content": text, "usage": usage})
        update = {"finish_reason": self.finish_reason, **({} if self.has_usage else {"usage": None})}
        return answer.model_copy(update=update)

    async def _talk(self, script: Script, on_delta: Deltas | None) -> str:
        text = ""
        for part in script:
            if isinstance(part, asyncio.Event):
                await part.wait()
            elif isinstance(part, OrcaError):
                raise part
            else:
                text += part
                if on_delta is not None:
                    on_delta(part)
        return text
