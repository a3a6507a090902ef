"""How many people are following runs in this process, and that they are not too many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orca_protocol.errors import LimitError


class Followers:
    """A count with a bound, for every kind of stream together."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._count = 0

    def admit(self) -> None:
        """Raise LimitError ``too_many_followers`` if there is no room."""
        if self._count >= self._at_most:
            raise LimitError("too_many_followers", f"{self._at_most} streams are open here; close some, or read GET /v1/runs/ID")

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream for the length of the block."""
        self.admit()
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
