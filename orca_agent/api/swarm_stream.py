"""A swarm while it runs, in the events of the Swarms API's own streams, from the events of the run.

metadata     job_id, swarm_name, swarm_type, number_of_agents: as soon as somebody is asked; errors before that are answers
start
agent_start  agent, path: an agent is asked; agent_restart: it is asked again, its chunks so far are void
chunk        agent, path, content
agent_end    agent, path, outcome
usage        the providers' own figures
awaiting_input  the last of a stream whose run asks a person: job_id and what is asked, as a 202 says it
end          the whole response object, ``status`` and ``output`` in it; or ``error`` with a problem document
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from orca_agent.api.followers import Followers
from orca_agent.api.problems import PROBLEMS
from orca_agent.api.services import Services
from orca_agent.api.streams import Stream, batches
from orca_agent.api.waiting import ended_run, leave
from orca_agent.store.events import RunEvent
from orca_agent.work.queue import Stored
from orca_agent.work.response import Shown, pending
from orca_agent.work.states import AWAITING
from orca_protocol.errors import OrcaError
from orca_protocol.spec import SwarmSpec

#: what the Swarms API calls our kinds
_KINDS = {"call_started": "agent_start", "delta": "chunk", "call_restarted": "agent_restart", "call_finished": "agent_end"}


class SwarmStream(Stream):
    """The answer to who wants to watch the run that they began; ``shown`` makes the response object."""

    def __init__(
        self,
        services: Services,
        followers: Followers,
        stored: Stored,
        spec: SwarmSpec,
        shown: Shown,
        *,
        kept: bool,
    ) -> None:
        super().__init__(services, followers, stored.run_id)
        self._stored = stored
        self._spec = spec
        self._shown = shown
        self._kept = kept

    async def left(self) -> None:
        """Cancel the run, unless it is to go on."""
        if not self._kept:
            await leave(self.services, [self._stored])

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield the run's events as they come, and its response object."""
        is_begun = False
        try:
            async with aclosing(batches(self.services, self.run_id)) as following:
                async for batch in following:
                    told = [event for event in batch if event.kind in _KINDS and _is_of_a_model(event)]
                    if told and not is_begun:
                        is_begun = True
                        yield self._opening()
                    yield b"".join(map(_of_agent, told))
                    if any(event.kind == "awaiting_input" for event in batch):
                        yield await self._asked()
                        return
            ended = await ended_run(self.services, self.run_id)
        except OrcaError as error:
            if not is_begun:
                raise
            yield _frame("error", json.loads(PROBLEMS.answer(error, run=self.run_id).body))
            return
        if not is_begun:  # a run that asked nobody
            yield self._opening()
        document = self._shown(ended, await self.services.bill(ended))
        yield _frame("usage", document["usage"]) + _frame("end", document)

    async def _asked(self) -> bytes:
        """Return what a person is asked: the run is not waited for here, and goes on when it was answered."""
        state = await self.services.queue.state(self.run_id)
        return _frame(AWAITING, pending(state, await self.services.queue.questions(self.run_id)))

    def _opening(self) -> bytes:
        spec = self._spec
        metadata = {
            "job_id": self.run_id,
            "swarm_name": spec.name,
            "swarm_type": spec.swarm_type or spec.canonical_type,
            "number_of_agents": len(spec.agents),
        }
        return _frame("metadata", metadata) + _frame("start", {"job_id": self.run_id})


def _is_of_a_model(event: RunEvent) -> bool:
    """Tools, images and people are asked on the way; what this stream tells is what agents say."""
    body = json.loads(event.body)
    return "asks" not in body and body.get("outcome", "answer") in {"answer", "error", "stop"} and str(body["path"]).endswith(".0")


def _of_agent(event: RunEvent) -> bytes:
    body = json.loads(event.body)
    about = {"agent": body["agent"], "path": body["path"]}
    if event.kind == "delta":
        about["content"] = body["text"]
    if event.kind == "call_finished":
        about["outcome"] = body["outcome"]
    return _frame(_KINDS[event.kind], about)


def _frame(kind: str, document: dict[str, Any]) -> bytes:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode("utf-8", "replace")
