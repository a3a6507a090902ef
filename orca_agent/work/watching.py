"""Watches one run by its events: counts what happened and makes spans of it, run → agent → call.

It is told what the run tells everybody, and never the other way round: no run waits for it. Only what a process saw becomes spans;
the run's own span is made by the process that brings it to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from orca_agent.work.events import CallFinished, CallRestarted, CallStarted, Delta, Event, ModelResolved, OnEvent, RunStarted
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure
from orca_protocol.world import ToolResult

if TYPE_CHECKING:
    from orca_agent.observe.metrics import Metrics, Model
    from orca_agent.observe.tracing import Tracing
    from orca_agent.work.runner import Finished

#: what a span says in one field
Attribute = str | int | float | bool | tuple[str, ...]
#: a call that got to no model
_NO_MODEL: tuple[str, str] = ("none", "none")
RUN = "run"


@dataclass(frozen=True, slots=True)
class Watchers:
    """What a process watches its runs with; what is switched off is None."""

    metrics: Metrics | None = None
    tracing: Tracing | None = None
    #: what an answer cost in US dollars, where that is known
    cost_of: Callable[[Answer], Decimal | None] = lambda answer: None
    #: Unix seconds
    clock: Callable[[], float] = time.time

    @property
    def is_on(self) -> bool:
        """Whether anything is watched at all."""
        return self.metrics is not None or self.tracing is not None

    def watch(self, item_id: str, told: OnEvent) -> Watching:
        """Watch one run, which says which one when it starts, and hand on to ``told`` what it tells."""
        return Watching(self, item_id, told)

    def failed(self, run_id: str) -> None:
        """A run ended without an output."""
        if self.metrics is not None:
            self.metrics.run_ended("failed")

    def proved(self, finished: Finished, cid: str, started: float) -> None:
        """A run's proof was made between ``started`` and now."""
        if self.tracing is not None:
            attributes = {"orca.run.id": finished.run.id, "orca.work_item.id": finished.item.id, "orca.proof.cid": cid}
            self.tracing.span(finished.run.id, f"proof {cid} {started}", "prove", started, self.clock(), attributes, parent=RUN)


@dataclass(slots=True)
class _Open:
    """A call under way."""

    of: str
    began: float
    asks: str
    has_text: bool = False


@dataclass(slots=True)
class _Visit:
    """What an agent did at one place of the swarm: its turns so far."""

    name: str
    began: float
    ended: float
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None


@dataclass(slots=True)
class Watching:
    """One run, watched; an ``OnEvent``."""

    _watchers: Watchers
    _item_id: str
    _told: OnEvent
    _run_id: str = ""
    _models: dict[str, ModelResolved] = field(default_factory=dict)
    _open: dict[Path, _Open] = field(default_factory=dict)
    _visits: dict[tuple[int, int, int], _Visit] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Hand an event on, and look at it."""
        self._told(event)
        if self._watchers.is_on:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case CallStarted(path, _, of, asks):
                self._open[path] = _Open(of, self._watchers.clock(), asks)
            case Delta(path=path):
                self._first_text(path)
            case CallFinished():
                self._call_ended(event)
            case ModelResolved(name=name):
                self._models[name] = event
            case CallRestarted():
                if self._watchers.metrics is not None:
                    self._watchers.metrics.call_restarted()
            case RunStarted(run_id=run_id, answered=answered, lost=lost):
                self._run_id = run_id
                if self._watchers.metrics is not None:
                    self._watchers.metrics.run_taken(answered=answered, lost=lost)

    def ended(self, finished: Finished) -> None:
        """The run has its output."""
        if self._watchers.metrics is not None:
            self._watchers.metrics.run_ended(finished.output.status)
        if self._watchers.tracing is None:
            return
        for place, visit in self._visits.items():
            self._trace_visit(self._watchers.tracing, place, visit)
        kind = finished.output.swarm_type
        self._watchers.tracing.span(
            self._run_id,
            RUN,
            f"invoke_workflow {kind}",
            finished.run.started,
            finished.finished,
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": kind,
                "orca.run.status": finished.output.status,
                **self._ids,
            },
            error=None if finished.output.status == "success" else finished.output.status,
        )

    @property
    def _ids(self) -> dict[str, str]:
        return {"orca.run.id": self._run_id, "orca.work_item.id": self._item_id}

    def _first_text(self, path: Path) -> None:
        call = self._open.get(path)
        if call is None or call.has_text:
            return
        call.has_text = True
        if self._watchers.metrics is not None:
            self._watchers.metrics.first_token(self._model_of(call), self._watchers.clock() - call.began)

    def _model_of(self, call: _Open) -> Model:
        found = self._models.get(call.of)
        return _NO_MODEL if found is None else (found.provider, found.model)

    def _call_ended(self, event: CallFinished) -> None:
        call = self._open.pop(event.path, None)
        if call is None:  # it was stopped before anybody was asked
            return
        if call.asks == "tool":
            self._tool_ended(event, call)
        if call.asks != "model":
            return
        model = self._model_of(call)
        if self._watchers.metrics is not None:
            self._count(self._watchers.metrics, event, call, model)
        if self._watchers.tracing is not None:
            self._trace(self._watchers.tracing, event, call, model)

    def _count(self, metrics: Metrics, event: CallFinished, call: _Open, model: Model) -> None:
        resolved = self._models.get(call.of)
        if resolved is not None:
            metrics.routed(model, alias=resolved.alias)
        metrics.call_ended(model, _kind(event.outcome), event.seconds)
        if isinstance(event.outcome, Answer):
            metrics.journaled(event.journal_seconds)
            cost = self._watchers.cost_of(event.outcome)
            if cost is not None:
                metrics.cost(model, float(cost))
            if event.outcome.usage is not None:
                metrics.tokens(model, event.outcome.usage.input_tokens, event.outcome.usage.output_tokens)

    def _trace(self, tracing: Tracing, event: CallFinished, call: _Open, model: Model) -> None:
        place, end, error = event.path[:3], call.began + event.seconds, _error(event.outcome)
        visit = self._visits.setdefault(place, _Visit(event.name, call.began, end))
        visit.ended, visit.error = max(visit.ended, end), error
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model[0],
            "gen_ai.request.model": call.of,
            "gen_ai.agent.name": event.name,
            "orca.path": str(event.path),
            **self._ids,
        }
        if isinstance(event.outcome, Answer):
            attributes["gen_ai.response.model"] = event.outcome.model.model
            attributes["gen_ai.response.finish_reasons"] = (event.outcome.finish_reason,)
            if event.outcome.usage is not None:
                attributes["gen_ai.usage.input_tokens"] = event.outcome.usage.input_tokens
                attributes["gen_ai.usage.output_tokens"] = event.outcome.usage.output_tokens
                visit.input_tokens += event.outcome.usage.input_tokens
                visit.output_tokens += event.outcome.usage.output_tokens
        tracing.span(
            self._run_id,
            f"call {event.path}",
            f"chat {call.of}",
            call.began,
            end,
            attributes,
            parent=_visit_at(place),
            error=error,
            is_call=True,
        )

    def _tool_ended(self, event: CallFinished, call: _Open) -> None:
        failed = isinstance(event.outcome, ToolResult) and event.outcome.is_error
        error = "tool_error" if failed else _error(event.outcome)
        if self._watchers.metrics is not None:
            self._watchers.metrics.tool_ended("answer" if error is None else "error", event.seconds)
        if self._watchers.tracing is not None:
            place, end = event.path[:3], call.began + event.seconds
            attributes: dict[str, Attribute] = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call.of,
                "gen_ai.agent.name": event.name,
                "orca.path": str(event.path),
                **self._ids,
            }
            where, name, parent = f"call {event.path}", f"execute_tool {call.of}", _visit_at(place)
            self._watchers.tracing.span(self._run_id, where, name, call.began, end, attributes, parent=parent, error=error)

    def _trace_visit(self, tracing: Tracing, place: tuple[int, int, int], visit: _Visit) -> None:
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": visit.name,
            "gen_ai.usage.input_tokens": visit.input_tokens,
            "gen_ai.usage.output_tokens": visit.output_tokens,
            **self._ids,
        }
        where, name = _visit_at(place), f"invoke_agent {visit.name}"
        tracing.span(self._run_id, where, name, visit.began, visit.ended, attributes, parent=RUN, error=visit.error)


def _visit_at(place: tuple[int, ...]) -> str:
    return f"visit {'.'.join(map(str, place))}"


def _kind(outcome: Outcome) -> Literal["answer", "error", "stop"]:
    if isinstance(outcome, Answer):
        return "answer"
    return "error" if isinstance(outcome, Failure) else "stop"


def _error(outcome: Outcome) -> str | None:
    match outcome:
        case Failure(code=code):
            return code
        case Stop(reason=reason):
            return reason
        case _:
            return None
