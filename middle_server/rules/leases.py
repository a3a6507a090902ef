"""Who may still act under a lease, and until when. A zombie's token is refused whatever else it says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from orca_protocol.errors import InvalidError

Ending = Literal["reported", "given_back", "expired", "cancelled"]


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease as it stands, beside the token that its item has by now."""

    lease_id: str
    worker: str
    fencing_token: int
    expires: datetime
    ending: Ending | None
    #: of the item; rises with every lease
    current_token: int
    #: when the item is taken from the holder; None once nobody is waited for
    deadline: datetime | None


def check_holder(holding: Holding, *, worker: str, fencing_token: int, now: datetime, ending: Ending | None = None) -> None:
    """Let only the lease's own holder pass, with its own token, in time.

    ``ending`` says what must have become of the lease (None: nothing yet). Raises InvalidError ``lease_foreign``,
    ``fencing_token_wrong``, ``fencing_token_stale``, ``lease_ended`` or ``lease_expired``.
    """
    if holding.worker != worker:
        raise InvalidError("lease_foreign", "this lease belongs to another key")
    if holding.fencing_token != fencing_token:
        raise InvalidError("fencing_token_wrong", f"this lease has another fencing token than {fencing_token}")
    if holding.current_token != holding.fencing_token:
        raise InvalidError(
            "fencing_token_stale",
            f"the work item went to another node: its token is {holding.current_token}, yours is {fencing_token}; drop the work",
        )
    if holding.ending != ending:
        state = holding.ending or "still held"
        raise InvalidError("lease_ended", f"this lease is {state.replace('_', ' ')}; fetch other work with a new claimId")
    if holding.deadline is None or now >= holding.deadline:
        raise InvalidError("lease_expired", "this lease ran out; drop the work and fetch other work with a new claimId")


def heartbeat_deadline(now: datetime, expires: datetime, *, seconds: int) -> datetime:
    """Return until when a holder that was heard at ``now`` is waited for: never beyond the lease's own end."""
    return min(expires, now + timedelta(seconds=seconds))
