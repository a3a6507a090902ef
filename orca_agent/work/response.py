"""The response object of ``/v1/swarm/completions``, as the Swarms API shapes it, from a finished run, or from one that waits.

``usage`` holds the providers' own figures; ``cost`` is null where a price is not known, never an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orca_agent.work.inputs import Question
from orca_agent.work.runner import Finished
from orca_agent.work.states import RunState
from orca_protocol.spec import DEFAULT_SWARM_TYPE, read_spec

#: parts of an output that only some swarm types have
_WHERE_THERE_IS_ONE = ("notes", "tasks_completed", "votes", "generated_spec")


def completion(finished: Finished) -> dict[str, Any]:
    """Return the JSON document that a caller of the Swarms API gets, whatever the status."""
    spec, output = finished.item.spec, finished.output
    document = output.document()
    usage = output.usage
    return {
        "job_id": finished.run.id,
        "status": output.status,
        "swarm_name": spec.name,
        "description": spec.description,
        "swarm_type": output.swarm_type,
        "resolved_swarm_type": output.resolved_swarm_type,
        "task": spec.task,
        "output": document["output"],
        **{field: document[field] for field in _WHERE_THERE_IS_ONE if field in document},
        "stopped": output.stopped,
        "number_of_agents": len((output.generated_spec or spec).agents),
        "execution_time": round(max(0.0, finished.finished - finished.run.started), 3),
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "calls": usage.calls,
            "unreported_calls": usage.unreported_calls,
            "cost": None,
        },
    }


def pending(state: RunState, asked: Sequence[Question]) -> dict[str, Any]:
    """Return what a caller of the Swarms API gets for a run that is not waited for: its id, and what it waits for itself."""
    spec = read_spec(state.run.spec, where=f"run {state.run.id}")
    return {
        "job_id": state.run.id,
        "status": state.status,
        "swarm_name": spec.name,
        "description": spec.description,
        "swarm_type": spec.swarm_type or DEFAULT_SWARM_TYPE,
        "scheduled": None if state.due is None else state.due.document(),
        "asked": [question.document() for question in asked],
    }
