"""What the node says of itself: what it does, why it is idle, what became of its work and why it was or was not paid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orca_agent.rounds.schedule import Duty
from orca_agent.store.records import Assignment, NodeRecords, Review


@dataclass(slots=True)
class Look:
    """One look at the chain, and what the loop made of it."""

    slot: int | None = None
    round: int | None = None
    #: when something may become due next, for anybody
    next_slot: int | None = None
    #: due and not done yet
    due: list[Duty] = field(default_factory=list)
    #: what went wrong with a duty, until it goes right or is due no more
    troubles: dict[Duty, str] = field(default_factory=dict)
    #: looks so far
    count: int = 0
    #: why the chain could not be looked at, or None
    blind: str | None = "the chain was not looked at yet"


def describe(look: Look, *, key: str, working: str | None, idle: str | None, run_id: str | None) -> dict[str, Any]:
    """Return the loop's state as a document. ``busy`` is empty when the node has done all that it can at this slot."""
    busy = [] if working is None else [working]
    busy += [_named(duty) for duty in look.due]
    return {
        "key": key,
        "looks": look.count,
        "slot": look.slot,
        "round": look.round,
        "next_slot": look.next_slot,
        "busy": busy,
        "idle": None if working is not None else look.blind or idle,
        "run_id": run_id,
        "troubles": [{"duty": _named(duty), "reason": reason} for duty, reason in sorted(look.troubles.items())],
    }


async def history(records: NodeRecords) -> dict[str, Any]:
    """Return the newest assignments and rounds, and for every proof of this node's what became of it."""
    rounds = await records.recent_rounds()
    return {
        "assignments": [_assignment(one) for one in await records.recent_assignments()],
        "rounds": [_round(one) for one in rounds],
    }


async def reviews(records: NodeRecords, number: int) -> list[dict[str, Any]]:
    """Return this node's verdicts on the proofs of a round."""
    return [_review(one) for one in await records.reviews_of(number)]


def _named(duty: Duty) -> str:
    return f"{duty.kind.replace('_', ' ')} round {duty.round}" + (f" ({duty.subject})" if duty.subject else "")


def _assignment(one: Assignment) -> dict[str, Any]:
    todo = {} if one.todo is None else json.loads(one.todo)
    return {
        "work_item": todo.get("id"),
        "lease_id": todo.get("leaseId"),
        "state": one.state,
        "run_id": one.run_id,
        "round": one.round,
        "cid": one.cid,
        "ending": one.ending,
    }


def _round(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "outcomes": None if one["outcomes"] is None else json.loads(one["outcomes"])}


def _review(one: Review) -> dict[str, Any]:
    return {"round": one.round, "worker": one.worker, "cid": one.cid, "vote": one.vote, "reason": one.reason}
