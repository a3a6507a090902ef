"""The life of a work item: which event leads from which status to which. Whatever is not in the table does not happen.

queued → leased → reported → in_review → done
                                       → unpaid     nobody could measure it: neither paid nor cut
a lease given back or run out, a result that never reached a round or was rejected: queued again, for another key,
or failed after the last attempt. An item nobody has reported yet can be cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, get_args

from orca_protocol.errors import InvalidError

Status = Literal["queued", "leased", "reported", "in_review", "done", "unpaid", "failed", "cancelled"]
Event = Literal["claim", "give_back", "expire", "report", "review", "approve", "reject", "leave_unpaid", "cancel"]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
#: what people see: an item that is queued and held back until its moment is ``scheduled``
SHOWN: Final[tuple[str, ...]] = ("scheduled", *STATUSES)
EVENTS: Final[tuple[Event, ...]] = get_args(Event)

TRANSITIONS: Final[Mapping[tuple[Status, Event], Status]] = {
    ("queued", "claim"): "leased",
    ("queued", "cancel"): "cancelled",
    ("leased", "give_back"): "queued",
    ("leased", "expire"): "queued",
    ("leased", "report"): "reported",
    ("leased", "cancel"): "cancelled",
    ("reported", "expire"): "queued",
    ("reported", "review"): "in_review",
    ("in_review", "approve"): "done",
    ("in_review", "reject"): "queued",
    ("in_review", "leave_unpaid"): "unpaid",
}


def after(status: Status, event: Event, *, attempts: int, attempts_at_most: int) -> Status:
    """Return the status that follows. Raises InvalidError ``transition_illegal``.

    An item that would be queued again has failed instead once it had ``attempts_at_most`` leases or more.
    """
    follows = TRANSITIONS.get((status, event))
    if follows is None:
        raise InvalidError("transition_illegal", f"a work item that is {status} cannot {event.replace('_', ' ')}")
    if follows == "queued" and attempts >= attempts_at_most:
        return "failed"
    return follows


def shown(status: Status, *, not_before: datetime | None, now: datetime) -> str:
    """Return the status as people see it, one of ``SHOWN``."""
    return "scheduled" if status == "queued" and not_before is not None and not_before > now else status


def is_final(status: Status) -> bool:
    """Whether nothing can happen to the item any more."""
    return all(before != status for before, _ in TRANSITIONS)
