"""Live progress of a run on stderr: who is asked, what they say as they say it, how each call ended."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from orca.cli.show import one_line, plain
from orca_agent.work.events import CallFinished, CallRestarted, CallStarted, Delta, Event, ModelResolved, RunStarted
from orca_protocol.journal import Outcome, Stop
from orca_protocol.model import Answer, Failure
from orca_protocol.world import FetchedImage, Input, Offer, ToolResult


class Progress:
    """Prints events as lines. Text of parallel agents is printed as it comes, under a new ``[name]`` when the speaker changes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._speaking: object = None
        self._is_read = True

    def __call__(self, event: Event) -> None:
        """Show one event. Nobody reading any more (a closed pipe) is no reason to end a run."""
        if self._is_read:
            try:
                self._show(event)
            except OSError:
                self._is_read = False

    def _show(self, event: Event) -> None:
        match event:
            case Delta(path, name, text):
                self._speak(path, name, text)
            case ModelResolved(name, provider, model, alias):
                self._line(f"model {name} is answered by {model} (provider {provider}{', by your alias' if alias else ''})")
            case RunStarted(run_id, answered, lost, left):
                again = f", resumed: {answered} answers in the journal, {lost} calls asked again" if answered or lost else ""
                self._line(f"run {run_id}{again}" + ("" if left is None else f", ends in {left:.0f} s at the latest"))
            case CallStarted(_, name):
                self._line(f"[{name}] asked")
            case CallRestarted(_, name):
                self._line(f"[{name}] asked again; what it said so far is void")
            case CallFinished(_, name, outcome, seconds):
                self._line(f"[{name}] {_ending(outcome)} after {seconds:.1f} s")

    def _speak(self, path: object, name: str, text: str) -> None:
        if self._speaking != path:
            self._end_line()
            self._stream.write(one_line(f"[{name}] "))
            self._speaking = path
        self._stream.write(plain(text))
        self._stream.flush()

    def _line(self, text: str) -> None:
        self._end_line()
        self._stream.write(one_line(text) + "\n")
        self._stream.flush()

    def _end_line(self) -> None:
        if self._speaking is not None:
            self._stream.write("\n")
            self._speaking = None


class RemoteProgress(Progress):
    """The same for the events of a run that another process tells over HTTP."""

    def told(self, kind: str, body: dict[str, Any]) -> None:
        """Show one event."""
        if self._is_read:
            try:
                self._show_told(kind, str(body.get("agent", "")), body)
            except OSError:
                self._is_read = False

    def _show_told(self, kind: str, name: str, body: dict[str, Any]) -> None:
        match kind:
            case "delta":
                self._speak(body.get("path"), name, str(body.get("text", "")))
            case "model_resolved":
                by_alias = ", by an alias" if body.get("alias") else ""
                self._line(
                    f"model {body.get('name')} is answered by {body.get('model')} (provider {body.get('provider')}{by_alias})"
                )
            case "started":
                again = body.get("answered") or body.get("lost")
                self._line(
                    f"run {body.get('run')}" + (f", resumed: {body.get('answered')} answers in the journal" if again else "")
                )
            case "call_started":
                self._line(f"[{name}] asked")
            case "call_restarted":
                self._line(f"[{name}] asked again; what it said so far is void")
            case "call_finished":
                self._line(f"[{name}] {_told_ending(body)} after {body.get('seconds')} s")
            case "scheduled":
                self._line(f"begins at {body.get('local')} ({body.get('timezone')})")
            case "awaiting_input":
                self._line("waits for a person: orca status shows what is asked, orca input answers")
            case "finished" | "failed":
                self._line(f"run {kind}: {body.get('status') or body.get('reason')}")
            case "step_started" | "step_finished":
                pass  # its calls say it
            case "verdict":
                self._line(f"proof {body.get('cid')}: {body.get('outcome')} in round {body.get('round')}")
            case _:
                self._line(kind.replace("_", " "))


def _told_ending(body: dict[str, Any]) -> str:
    match body.get("outcome"):
        case "answer":
            usage = body.get("usage")
            return "answered" + (f", {usage.get('output_tokens')} tokens" if isinstance(usage, dict) else "")
        case "error":
            return f"failed [{body.get('error')}]"
        case "offer" | "tool" | "image" | "input" as kind:
            return _BESIDE[kind]
        case _:
            return f"stopped: {body.get('stopped')}"


_BESIDE = {"offer": "told what tools there are", "tool": "tool answered", "image": "image fetched", "input": "input given"}


def _ending(outcome: Outcome) -> str:
    match outcome:
        case Answer(usage=usage):
            return "answered" + (f", {usage.output_tokens} tokens" if usage is not None else "")
        case Failure(code=code, detail=detail):
            return f"failed: {detail} [{code}]"
        case Stop(reason=reason):
            return f"stopped: {reason}"
        case Offer():
            return _BESIDE["offer"]
        case ToolResult():
            return _BESIDE["tool"]
        case FetchedImage():
            return _BESIDE["image"]
        case Input():
            return _BESIDE["input"]
