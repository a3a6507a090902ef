"""Writes what a run tells into its durable events, behind its back: the run never waits for it, and nothing changes order.

Pieces of one answer that come close together are one event. If the database does not answer, events wait for it up to a
bound; beyond that the text of answers under way is left out, and the end of such a call says so. The journal is the record:
a run whose events cannot be written goes on, and the log says what was lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from orca_agent.models.retry import Clock, SystemClock
from orca_agent.store.events import EventLog, NewEvent
from orca_agent.store.journal import Hold
from orca_agent.work.events import (
    CallFinished,
    CallRestarted,
    CallStarted,
    Delta,
    Event,
    ModelResolved,
    RunStarted,
    StepFinished,
    StepStarted,
)
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.journal import Outcome, Path, Stop
from orca_protocol.model import Answer, Failure
from orca_protocol.world import FetchedImage, Input, Offer, ToolResult

log = logging.getLogger(__name__)

#: for so long, or until there are so many characters, the pieces of an answer are gathered
GATHER_SECONDS = 0.1
GATHER_CHARACTERS = 2048
_RETRY_SECONDS = 1.0
_BATCH = 500
#: what may wait for a database that does not answer, in characters of answers
_WAITING_CHARACTERS = 4 * 2**20


class Recorder:
    """The events of one run while it is held; an ``OnEvent``."""

    def __init__(self, events: EventLog, hold: Hold, clock: Clock | None = None) -> None:
        self._events = events
        self._hold = hold
        self._clock = clock or SystemClock()
        self._waiting: list[_Told] = []
        #: the event that further text of a path goes into
        self._open: dict[Path, _Told] = {}
        self._characters = 0
        #: paths whose text was left out
        self._cut: set[Path] = set()
        self._news = asyncio.Event()
        self._is_urgent = asyncio.Event()
        self._batches = 0
        self._is_refused = False
        self._is_closing = False
        self._writer = asyncio.create_task(self._serve(), name=f"events of {hold.run_id}")

    def __call__(self, event: Event) -> None:
        """Take an event, in the thread of the event loop."""
        if self._is_refused:
            return
        if isinstance(event, Delta):
            self._add_text(event)
        else:
            self._add(event)
        self._news.set()

    async def close(self, seconds: float) -> None:
        """Write what is left, for at most ``seconds``; what cannot be written by then is given up."""
        self._is_closing = True
        self._is_urgent.set()
        self._news.set()
        try:
            await asyncio.wait([self._writer], timeout=seconds)
        finally:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        if self._waiting:
            log.warning("%d events of run %s were not written and are given up", len(self._waiting), self._hold.run_id)
            self._waiting.clear()

    def _add(self, event: Event) -> None:
        path = getattr(event, "path", None)
        if path is not None:
            self._open.pop(path, None)
        kind, body = described(event)
        if isinstance(event, CallStarted | CallRestarted):
            self._cut.discard(event.path)
        elif isinstance(event, CallFinished) and event.path in self._cut:
            body["text_left_out"] = True
        self._waiting.append(_Told(kind, body, self._clock.now().timestamp()))
        self._is_urgent.set()

    def _add_text(self, event: Delta) -> None:
        if event.path in self._cut:
            return
        if self._characters + len(event.text) > _WAITING_CHARACTERS:
            self._cut.add(event.path)
            log.warning("run %s: text at %s is left out of its events, too much waits to be written", self._hold.run_id, event.path)
            return
        self._characters += len(event.text)
        told = self._open.get(event.path)
        if told is None:
            body: dict[str, Any] = {"path": str(event.path), "agent": event.name, "text": ""}
            told = self._open[event.path] = _Told("delta", body, self._clock.now().timestamp())
            self._waiting.append(told)
        told.body["text"] += event.text
        if len(told.body["text"]) >= GATHER_CHARACTERS:
            del self._open[event.path]
            self._is_urgent.set()

    async def _serve(self) -> None:
        """The outermost loop of the events: a mistake of ours here must not end the run."""
        try:
            await self._write_all()
        except Exception:  # whatever it was, the log says it
            log.exception("events of run %s", self._hold.run_id)
            self._is_refused = True

    async def _write_all(self) -> None:
        """Write batch after batch, until everything is written after ``close``, or the run is not ours any more."""
        while self._waiting or not self._is_closing:
            await self._news.wait()
            await self._gathered()
            batch = self._waiting[:_BATCH]
            if len(batch) == len(self._waiting):
                self._is_urgent.clear()
            if batch and not await self._write(batch):
                return
            del self._waiting[: len(batch)]
            self._characters -= sum(len(told.body["text"]) for told in batch if told.kind == "delta")
            if not self._waiting:
                self._news.clear()

    async def _gathered(self) -> None:
        """Give the pieces of an answer a moment to become one event, unless something came that is no such piece."""
        if not self._is_closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._is_urgent.wait()

    async def _write(self, batch: list[_Told]) -> bool:
        """Write ``batch``; False if this run is not ours any more. Nothing can be added to these events from here on."""
        written = {id(told) for told in batch}
        self._open = {path: told for path, told in self._open.items() if id(told) not in written}
        events = [NewEvent(told.kind, told.body, told.at) for told in batch]
        self._batches += 1
        while True:
            try:
                await self._events.append(self._hold, events, batch=self._batches)
            except InvalidError as error:
                log.warning("%s", error.detail)
                self._is_refused = True
                self._waiting.clear()
                return False
            except UnavailableError as error:
                log.warning("events of run %s wait %s s: %s", self._hold.run_id, _RETRY_SECONDS, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True


class _Told:
    """An event that is not written yet."""

    __slots__ = ("at", "body", "kind")

    def __init__(self, kind: str, body: dict[str, Any], at: float) -> None:
        self.kind = kind
        self.body = body
        self.at = at


def described(event: Event) -> tuple[str, dict[str, Any]]:
    """Return the kind and the body of an event, as its readers get it."""
    match event:
        case RunStarted(answered=answered, lost=lost, seconds_left=left):
            return "started", {"answered": answered, "lost": lost, "seconds_left": left}
        case ModelResolved(name, provider, model, alias):
            return "model_resolved", {"name": name, "provider": provider, "model": model, "alias": alias}
        case StepStarted(step):
            return "step_started", {"step": str(step)}
        case StepFinished(step):
            return "step_finished", {"step": str(step)}
        case CallStarted(path=path, name=name, asks="model"):
            return "call_started", {"path": str(path), "agent": name}
        case CallStarted(path=path, name=name, of=of, asks=asks):
            return "call_started", {"path": str(path), "agent": name, "asks": asks, "of": of}
        case Delta(path, name, text):
            return "delta", {"path": str(path), "agent": name, "text": text}
        case CallRestarted(path, name):
            return "call_restarted", {"path": str(path), "agent": name}
        case CallFinished(path=path, name=name, outcome=outcome, seconds=seconds):
            return "call_finished", {"path": str(path), "agent": name, "seconds": round(seconds, 3), **_outcome(outcome)}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Answer(usage=usage):
            return {"outcome": "answer", "usage": None if usage is None else usage.document()}
        case Failure(code=code):
            return {"outcome": "error", "error": code}
        case Stop(reason=reason):
            return {"outcome": "stop", "stopped": reason}
        case Offer(tools=tools):
            return {"outcome": "offer", "tools": [tool.name for tool in tools]}
        case ToolResult(is_error=is_error):
            return {"outcome": "tool", "is_error": is_error}
        case FetchedImage(image=image):
            return {"outcome": "image", "media_type": image.media_type, "digest": image.digest}
        case Input():
            return {"outcome": "input"}
