"""The driver's world: each call's intent is journaled, its model asked in the one place that retries, its entry journaled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from orca_agent.models.registry import Registry, Resolution
from orca_agent.models.retry import Asked, Clock, Policy, ask, stamp
from orca_agent.observe.secrets import Secrets
from orca_agent.store.journal import Hold, Journal, Lost
from orca_agent.tools.reach import Reached
from orca_agent.work.events import (
    CallFinished,
    CallRestarted,
    CallStarted,
    Delta,
    ModelResolved,
    OnEvent,
    StepFinished,
    StepStarted,
)
from orca_agent.work.live import Answered
from orca_agent.work.steps import Steps
from orca_engine.machine import Call
from orca_protocol.journal import Entry, Outcome, Path
from orca_protocol.model import Answer, Attempt, Failure, ModelRequest
from orca_protocol.world import RESULT_MAX_BYTES, FetchedImage, ImageRequest, InputRequest, OfferRequest, ToolRequest, ToolResult

#: outcome of an attempt that was under way when an earlier process ended
LOST = "lost"
_SHOWN_LOSSES = 100


class ModelCalls:
    """The world of one run."""

    def __init__(
        self,
        journal: Journal,
        hold: Hold,
        registry: Registry,
        secrets: Secrets,
        reached: Reached,
        *,
        policy: Policy,
        follow: bool,
        on_event: OnEvent,
        clock: Clock,
        lost: Mapping[Path, Lost],
        finish: Callable[[tuple[Entry, ...]], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._hold = hold
        self._registry = registry
        self._secrets = secrets
        self._reached = reached
        self._policy = policy
        self._follow = follow
        self._on_event = on_event
        self._clock = clock
        self._lost = lost
        self._finish = finish
        self._begun: dict[Path, float] = {}
        #: what names of models stand for, in this run from its first call on
        self._found: dict[str, Resolution] = {}
        self._steps = Steps()

    async def intend(self, calls: Sequence[Call]) -> None:
        """Journal that ``calls`` are about to be asked."""
        paths = [call.path for call in calls]
        await self._journal.intend(self._hold, paths, stamp(self._clock.now()))
        over, begun = self._steps.asked(paths)
        for step in over:
            self._on_event(StepFinished(step))
        for step in begun:
            self._on_event(StepStarted(step))

    async def ask(self, call: Call) -> Answered:
        """Ask the call's model. What a model or its server did wrong is an outcome; only our own refusals are raised."""
        self._begun[call.path] = self._clock.monotonic()
        self._on_event(_started(call))
        match call.request:
            case ModelRequest():
                asked = await self._ask(call)
                return self._without_secrets(asked.result), (*self._lost_attempts(call.path), *asked.attempts)
            case InputRequest():
                return Failure(code="nobody_to_ask", detail="nobody is there to be asked"), ()
            case request:
                return await self._reach(call.path, request)

    async def _reach(self, path: Path, request: OfferRequest | ToolRequest | ImageRequest) -> Answered:
        """Ask a tool, its server, or for an image: once, for nobody knows what a tool has done already."""
        started, begun = self._clock.now(), self._clock.monotonic()
        outcome = await self._reached.answer(request)
        elapsed = max(0, round((self._clock.monotonic() - begun) * 1000))
        said = outcome.code if isinstance(outcome, Failure) else "answer"
        attempt = Attempt(started=stamp(started), duration_ms=elapsed, outcome=said)
        return self._struck(outcome), (*self._lost_attempts(path), attempt)

    def _struck(self, outcome: Outcome) -> Outcome:
        """Strike secrets out; a tool's result has its digest anew."""
        if isinstance(outcome, ToolResult):
            text = self._secrets.strike(outcome.content).encode()[:RESULT_MAX_BYTES].decode(errors="ignore")
            return ToolResult.of(text, is_error=outcome.is_error)
        return outcome if isinstance(outcome, FetchedImage) else self._secrets.clean(outcome)

    def _without_secrets(self, result: Answer | Failure) -> Answer | Failure:
        """Strike secrets out; but an answer that peers will decode again must not be edited, so it is a failure instead."""
        clean = self._secrets.clean(result)
        if clean is not result and isinstance(result, Answer) and result.model.digest is not None:
            return Failure(
                code="secret_in_answer", detail="the answer contains one of this node's own keys, which a proof must not hold"
            )
        if clean is not result and isinstance(clean, Answer):  # its tokens would spell the secret piece by piece
            return clean.model_copy(update={"logprobs": None})
        return clean

    async def record(self, call: Call, entry: Entry) -> None:
        """Journal the entry, then tell whoever follows."""
        answered = self._clock.monotonic()
        self._reached.keep(entry.outcome)
        await self._journal.append(self._hold, entry)
        now = self._clock.monotonic()
        self._steps.answered(call.path)
        seconds = now - self._begun.pop(call.path, now)
        self._on_event(CallFinished(call.path, call.name, entry.outcome, seconds, now - answered))

    async def end(self, entries: tuple[Entry, ...]) -> None:
        """Journal that the run has ended, then tell whoever follows that its last step is over."""
        await self._finish(entries)
        for step in self._steps.ended():
            self._on_event(StepFinished(step))

    async def _ask(self, call: Call) -> Asked:
        request = call.asked
        found = self._found.get(request.model)
        if found is None:
            found = self._found[request.model] = await self._registry.resolve(request.model)
            self._on_event(ModelResolved(request.model, found.provider.name, found.model, found.alias is not None))

        stream = self._secrets.stream(lambda text: self._on_event(Delta(call.path, call.name, text))) if self._follow else None

        def on_restart() -> None:
            if stream is not None:
                stream.drop()
            self._on_event(CallRestarted(call.path, call.name))

        asked = await ask(
            found.provider,
            found.model,
            request,
            policy=self._policy,
            on_delta=None if stream is None else stream.add,
            images=self._reached.images,
            on_restart=on_restart,
            clock=self._clock,
        )
        if stream is not None:
            stream.end()
        return asked

    def _lost_attempts(self, path: Path) -> list[Attempt]:
        lost = self._lost.get(path)
        return (
            [] if lost is None else [Attempt(started=lost.asked_at, duration_ms=0, outcome=LOST)] * min(lost.times, _SHOWN_LOSSES)
        )


def _started(call: Call) -> CallStarted:
    match call.request:
        case ModelRequest(model=model):
            return CallStarted(call.path, call.name, model)
        case ToolRequest(tool=tool):
            return CallStarted(call.path, call.name, tool, "tool")
        case request:
            return CallStarted(call.path, call.name, "", request.asks)
