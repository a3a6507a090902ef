"""``output.json``: what a run says in the end, and what replay must reproduce byte for byte.

Run id, execution time and cost are not here: two executions do not share them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_serializer

from orca_protocol.journal import StopReason
from orca_protocol.model import Failure, Natural, Strict, ToolCall
from orca_protocol.spec import SwarmSpec

Status = Literal["success", "partial", "error"]

OUTPUT_MAX_BYTES = 64 * 1024 * 1024


class OutputMessage(Strict):
    """One agent's contribution. ``content`` is null exactly when there is an ``error``."""

    role: str
    content: str | None
    error: Failure | None = None
    #: functions of the caller's that the agent wants called
    tool_calls: tuple[ToolCall, ...] | None = None
    #: which of ``tasks`` this belongs to, from 0
    task: Natural | None = None

    @model_serializer
    def _with_explicit_null(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.error is not None:
            shown["error"] = self.error.document()
        if self.tool_calls is not None:
            shown["tool_calls"] = [call.document() for call in self.tool_calls]
        return shown if self.task is None else {**shown, "task": self.task}


class Note(Strict):
    """Something that a run decided and its reader should know."""

    code: str
    detail: str
    task: Natural | None = None


class VoteCount(Strict):
    """How many voters gave one answer, letter for letter."""

    answer: str
    votes: Natural


class UsageSum(Strict):
    """The providers' own figures, summed over the journal."""

    #: requests made (answered or failed); retries of one request are not counted again
    calls: Natural
    input_tokens: Natural
    output_tokens: Natural
    #: answers whose provider reported no usage: the token sums do not cover them
    unreported_calls: Natural


class Output(Strict):
    """The outcome of a run."""

    status: Status
    #: as the spec spelled it
    swarm_type: str
    resolved_swarm_type: str
    output: tuple[OutputMessage, ...]
    usage: UsageSum
    #: why the run was ended from outside, if it was
    stopped: StopReason | None = None
    notes: tuple[Note, ...] | None = None
    #: rows, or tasks, that were answered; where the type has such
    tasks_completed: Natural | None = None
    #: of the last round, the winner first
    votes: tuple[VoteCount, ...] | None = None
    #: the swarm that a model designed and that ran
    generated_spec: SwarmSpec | None = None
