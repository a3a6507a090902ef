"""What was said before the task: by a user, by an assistant who may have called functions, and by those functions.

Calls have the form in which outputs hold them, so that an agent's answer can go back into a spec as it came. What was called has
returned before anybody else speaks: no model server takes another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from orca_protocol.model import CallId, Message, Strict, ToolCall

#: functions that one message may call
CALLS_MAX = 128

Calls = Annotated[tuple[ToolCall, ...], Field(min_length=1, max_length=CALLS_MAX)]


class ChatTurn(Strict):
    """Something that was said before the task."""

    role: Literal["user", "assistant", "tool"]
    tool_calls: Calls | None = None
    #: the call that returned this
    tool_call_id: Annotated[CallId | None, Field(validate_default=True)] = None
    #: only beside calls there may be none, and only a tool may return nothing
    content: Annotated[str | None, Field(max_length=1_000_000, validate_default=True)] = None

    @field_validator("tool_calls")
    @classmethod
    def _is_called_by_an_assistant(cls, value: Calls | None, info: ValidationInfo) -> Calls | None:
        if value is not None and info.data.get("role") != "assistant":
            raise ValueError("only an assistant calls tools")
        return value

    @field_validator("tool_call_id")
    @classmethod
    def _is_a_tools(cls, value: CallId | None, info: ValidationInfo) -> CallId | None:
        if (value is not None) is not (info.data.get("role") == "tool"):
            raise ValueError("a message of the role tool, and no other, says which call it is the result of")
        return value

    @field_validator("content")
    @classmethod
    def _says_something(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and not info.data.get("tool_calls") and (value is None or info.data.get("role") != "tool"):
            raise ValueError("a message says something")
        return value

    def message(self) -> Message:
        """Return the turn as models are told of it."""
        return Message(role=self.role, content=self.content or "", tool_calls=self.tool_calls, tool_call_id=self.tool_call_id)


def broken_at(turns: Sequence[ChatTurn]) -> tuple[int, str] | None:
    """Return the place of the first message at which calls and results do not match, and why; None if they do."""
    due: list[str] = []
    for place, turn in enumerate(turns):
        if turn.tool_call_id is not None:
            if turn.tool_call_id not in due:
                return place, "tool_call_id: right before, nothing was called under this id that has not returned yet"
            due.remove(turn.tool_call_id)
        elif due:
            return place, f"role: first comes what the call {due[0]!r} returned, as a message of the role tool"
        ids = [call.id for call in turn.tool_calls or ()]
        if len(set(ids)) < len(ids):
            return place, "tool_calls: two calls have the same id"
        due.extend(ids)
    if due:
        return len(turns) - 1, f"role: what the call {due[0]!r} returned comes after it, as a message of the role tool"
    return None
