"""What came over HTTP while one question was under way: the protocol's client turns all of it into an error of its own, or a text.

It belongs to the question and not to the session, for a session carries several questions at once. The protocol's client sends
each message in its asker's context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from orca_protocol.errors import LimitError


@dataclass(slots=True)
class Seen:
    """The last answer's status, where it was no success, and the bound that an answer broke."""

    status: int | None = None
    limit: LimitError | None = None

    def describe(self, error: BaseException) -> str:
        """Name the kind of ``error``, its number and the status. Its text may quote the server's URL, which may hold a key."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        number = getattr(error, "code", None)
        said = [type(error).__name__, str(number) if isinstance(number, int) else "", f"HTTP {self.status}" if self.status else ""]
        return " ".join(filter(None, said))


_SEEN: ContextVar[Seen | None] = ContextVar("seen", default=None)


@contextmanager
def watching() -> Iterator[Seen]:
    """Enter with what will be seen on behalf of the block."""
    seen = Seen()
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def seen_now() -> Seen:
    """Return where to note what is seen; nobody reads it outside of a question."""
    return _SEEN.get() or Seen()
