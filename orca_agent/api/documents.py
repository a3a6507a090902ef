"""Runs as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orca_agent.models.retry import stamp
from orca_agent.work.inputs import Question
from orca_agent.work.states import RunState


def run_document(state: RunState, asked: Sequence[Question] = ()) -> dict[str, Any]:
    """Return the run as people see it; ``asked`` is what it waits for people to answer."""
    run = state.run
    return {
        "id": run.id,
        "status": state.status,
        "work_item": run.item_id,
        "created": rfc3339(state.created),
        "scheduled": None if state.due is None else state.due.document(),
        "deadline": None if run.deadline is None else rfc3339(run.deadline),
        "finished": None if run.finished is None else rfc3339(run.finished),
        "position": state.position,
        "attempts": state.attempts,
        "cancel_requested": state.is_cancelled,
        "reason": state.reason,
        "asked": [question.document() for question in asked],
        "events": f"/v1/runs/{run.id}/events",
        "output": f"/v1/runs/{run.id}/output",
    }


def rfc3339(seconds: float) -> str:
    """Return Unix seconds as people read them."""
    return stamp(datetime.fromtimestamp(seconds, UTC))
