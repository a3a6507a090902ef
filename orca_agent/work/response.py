"""The response object of ``/v1/swarm/completions``, as the Swarms API shapes it, from a finished run, or from one that waits.

``usage`` holds the providers' own figures; a cost is null where a price or a usage is not known, never an estimate. With ``tasks``,
``output`` is a list of outputs, one for each task in order; SpreadSheetSwarm's is its table, whatever the tasks of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orca_agent.models.facts import Bill, plain
from orca_agent.work.inputs import Question
from orca_agent.work.runner import Finished
from orca_agent.work.states import RunState
from orca_protocol.model import Answer
from orca_protocol.output import Output
from orca_protocol.spec import DEFAULT_SWARM_TYPE, SwarmSpec, read_spec

#: makes a response object of a run and what it cost
Shown = Callable[[Finished, Bill | None], dict[str, Any]]

#: parts of an output that only some swarm types have
_WHERE_THERE_IS_ONE = ("notes", "tasks_completed", "votes", "generated_spec")


def answers_of(finished: Finished) -> Iterator[Answer]:
    """Yield what models answered in the run: what its cost is reckoned from (``Registry.bill``)."""
    return (entry.answer for entry in finished.entries if entry.answer is not None)


def completion(finished: Finished, bill: Bill | None = None) -> dict[str, Any]:
    """Return the JSON document that a caller of the Swarms API gets, whatever the status. ``bill`` is None where it is unknown."""
    spec, output = finished.item.spec, finished.output
    document = output.document()
    agents = len((output.generated_spec or spec).agents)
    return {
        "job_id": finished.run.id,
        "status": output.status,
        "swarm_name": spec.name,
        "description": spec.description,
        "swarm_type": output.swarm_type,
        "resolved_swarm_type": output.resolved_swarm_type,
        "task": spec.task,
        **({} if spec.tasks is None else {"tasks": list(spec.tasks)}),
        "output": _by_task(spec, document["output"]),
        **{field: document[field] for field in _WHERE_THERE_IS_ONE if field in document},
        "stopped": output.stopped,
        "number_of_agents": agents,
        "execution_time": seconds_of(finished),
        "usage": {**tokens_of(output), "cost": cost_of(bill), "billing_info": billing_of(output, agents, bill)},
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


def seconds_of(finished: Finished) -> float:
    """Return how long the run took, its time in the queue included."""
    return round(max(0.0, finished.finished - finished.run.started), 3)


def tokens_of(output: Output) -> dict[str, int]:
    """Return what the providers reported, summed, and how many answers came without a report."""
    usage = output.usage
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "calls": usage.calls,
        "unreported_calls": usage.unreported_calls,
    }


def cost_of(bill: Bill | None) -> str | None:
    """Return what the run cost in US dollars, exact."""
    return None if bill is None else plain(bill.total)


def billing_of(output: Output, agents: int, bill: Bill | None) -> dict[str, Any]:
    """Return the Swarms API's bill, whose money is JSON numbers. There is no discount here, and no price for an agent as such."""
    tokens = tokens_of(output)
    return {
        "cost_breakdown": {
            "agent_cost": None,
            "input_token_cost": None if bill is None else float(bill.input),
            "output_token_cost": None if bill is None else float(bill.output),
            "token_counts": {
                "total_input_tokens": tokens["input_tokens"],
                "total_output_tokens": tokens["output_tokens"],
                "total_tokens": tokens["total_tokens"],
            },
            "num_agents": agents,
            "night_time_discount_applied": False,
        },
        "total_cost": None if bill is None else float(bill.total),
        "discount_active": False,
        "discount_type": "none",
        "discount_percentage": 0,
    }


def _by_task(spec: SwarmSpec, messages: list[dict[str, Any]]) -> list[Any]:
    if spec.tasks is None or spec.canonical_type == "SpreadSheetSwarm":
        return messages
    return [
        [{name: part for name, part in message.items() if name != "task"} for message in messages if message.get("task") == number]
        for number in range(len(spec.tasks))
    ]
