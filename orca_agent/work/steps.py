"""Which steps of a run are under way, told from the paths that are asked and answered alone.

A step is what stands between two barriers: all calls whose paths begin with the same loop and step. It begins with its first
call. Whether it is over shows when something else begins, or the run ends: until then an agent may have another turn in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orca_protocol.journal import Path


class Step(NamedTuple):
    """The beginning of a path."""

    loop: int
    step: int

    def __str__(self) -> str:
        return f"{self.loop}.{self.step}"


class Steps:
    """The steps of one run, while it is driven."""

    def __init__(self) -> None:
        self._open: dict[Step, set[Path]] = {}

    def asked(self, paths: Sequence[Path]) -> tuple[list[Step], list[Step]]:
        """Take calls that begin together; return the steps that are over, and those that begin."""
        named = dict.fromkeys(Step(path.loop, path.step) for path in paths)
        over = [step for step, under_way in self._open.items() if not under_way and step not in named]
        for step in over:
            del self._open[step]
        begun = [step for step in named if step not in self._open]
        for path in paths:
            self._open.setdefault(Step(path.loop, path.step), set()).add(path)
        return over, begun

    def answered(self, path: Path) -> None:
        """Take note that a call has its entry."""
        self._open.get(Step(path.loop, path.step), set()).discard(path)

    def ended(self) -> list[Step]:
        """Take note that the run has ended; return the steps that are over with it."""
        over = list(self._open)
        self._open.clear()
        return over
