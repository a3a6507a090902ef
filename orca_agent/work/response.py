"""The response object of ``/v1/swarm/completions``, as the Swarms API shapes it, from a finished run.

``usage`` holds the providers' own figures; ``cost`` is null where a price or a usage is not known, never an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orca_agent.models.facts import Bill, plain
from orca_agent.work.runner import Finished
from orca_protocol.model import Answer

#: parts of an output that only some swarm types have
_WHERE_THERE_IS_ONE = ("notes", "tasks_completed", "votes", "generated_spec")


def answers_of(finished: Finished) -> Iterator[Answer]:
    """Yield what models answered in the run: what its cost is reckoned from (``Registry.bill``)."""
    return (entry.answer for entry in finished.entries if entry.answer is not None)


def completion(finished: Finished, bill: Bill | None = None) -> dict[str, Any]:
    """Return the JSON document that a caller of the Swarms API gets, whatever the status. ``bill`` is None where it is unknown."""
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
            "cost": None if bill is None else plain(bill.total),
        },
    }
