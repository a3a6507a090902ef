"""How long an audit may take. Checked between pieces of work that are bounded themselves, so that the work really ends."""

from __future__ import annotations

import time

from orca_protocol.errors import UnavailableError


class Deadline:
    """Raises UnavailableError ``audit_timeout`` when its time is over: a slow auditor is no fault of the proof."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise if the time is over."""
        if time.monotonic() > self._end:
            raise UnavailableError("audit_timeout", f"this took longer than the {self._seconds:g} s that this auditor allows")
