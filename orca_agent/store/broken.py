"""Holds of which a write has failed: nothing that was called under one of them later is kept.

A journal without an answer, but with what followed from it, could neither be resumed nor replayed. Whoever takes the run again
begins a hold of its own.
"""

from __future__ import annotations

from orca_agent.store.journal import Hold


class BrokenHolds:
    """Which they are, in one process, and what each of them ended with."""

    def __init__(self) -> None:
        self._errors: dict[Hold, Exception] = {}

    def end(self, hold: Hold | None, error: Exception) -> None:
        """Note that a write under ``hold`` failed with ``error``; the first time counts."""
        if hold is not None:
            self._errors.setdefault(hold, error)

    def error(self, hold: Hold | None) -> Exception | None:
        """Return what ``hold`` ended with, None if nothing of it has failed."""
        return self._errors.get(hold) if hold is not None and self._errors else None
