"""What the code that runs just now is about: which run, work item and proof. Log lines and spans are joined by it.

A run's trace has the run's own id, written as hexadecimal digits alone. So the id that a person has in hand finds all of it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - it is never changed, only replaced


@contextmanager
def about(*, run_id: str | None = None, work_item: str | None = None, cid: str | None = None) -> Iterator[None]:
    """Say for the length of the block, also to tasks begun in it, what it is about; what is not named stays as it was."""
    given = {"run_id": run_id, "work_item": work_item, "cid": cid}
    token = _ABOUT.set({**_ABOUT.get(), **{name: value for name, value in given.items() if value is not None}})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def what() -> dict[str, str]:
    """Return what is known: ``run_id``, ``trace_id``, ``work_item``, ``cid``."""
    known = dict(_ABOUT.get())
    if "run_id" in known:
        known["trace_id"] = f"{trace_id_of(known['run_id']):032x}"
    return known


def trace_id_of(run_id: str) -> int:
    """Return the id of a run's trace: the run's UUID, or a digest of an id that is none. It is never zero."""
    try:
        number = uuid.UUID(run_id).int
    except ValueError:
        number = 0
    return number or int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16]) or 1
