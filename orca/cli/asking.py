"""What a run asks people, at the command line: answered by ``--input``, or at the terminal, or not at all."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orca.cli.show import note, one_line, plain
from orca_protocol.errors import InvalidError

if TYPE_CHECKING:
    from orca_engine.machine import Call
    from orca_protocol.journal import Path
    from orca_protocol.world import Input


class Answers:
    """The answers there are: first the given texts, in the order in which the run asks, then what a person types."""

    def __init__(self, given: Sequence[str], *, is_terminal: bool) -> None:
        self._given = deque(given)
        self._is_terminal = is_terminal
        self._said: dict[Path, Input] = {}

    @property
    def said(self) -> Mapping[Path, Input]:
        """Everything that was answered so far."""
        return self._said

    def answer(self, calls: Sequence[Call]) -> bool:
        """Answer ``calls`` as far as there is an answer; return whether there was one. Raises InvalidError ``schema``."""
        is_answered = False
        for call in calls:
            text = self._given.popleft() if self._given else self._typed(call) if self._is_terminal else None
            if text is None:
                break
            self._said[call.path] = _input(text)
            is_answered = True
        return is_answered

    def _typed(self, call: Call) -> str | None:
        """Return what a person types, or None if they will not: at the end of their input, or after an empty line."""
        for message in asked(call)["messages"]:
            note(f"{message['role']}: {plain(message['content'])}")
        sys.stderr.write(one_line(f"[{call.name}] your turn (an empty line leaves it for later): "))
        sys.stderr.flush()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # an event loop would wait for the end of the line
        try:
            return sys.stdin.readline().rstrip("\r\n") or None
        finally:
            signal.signal(signal.SIGINT, before)


def asked(call: Call) -> dict[str, Any]:
    """Return what a call asks a person."""
    from orca_agent.work.inputs import asked_document
    from orca_protocol.world import InputRequest

    if not isinstance(call.request, InputRequest):
        raise RuntimeError(f"path {call.path} asks no person")
    return asked_document(call.path, call.name, call.request)


def is_at_terminal(*, as_json: bool) -> bool:
    """Whether somebody is there who can be asked."""
    return not as_json and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _input(text: str) -> Input:
    from pydantic import ValidationError

    from orca_protocol.documents import describe
    from orca_protocol.world import Input

    try:
        return Input(content=text)
    except ValidationError as error:
        raise InvalidError("schema", f"--input: {describe(error)}") from error
