"""Run the engine again over a finished journal, with no model at all.

Every call must be at a path the journal holds, ask byte for byte what the journal says was asked, and every entry must
be used: then item, journal and output belong together under this engine. It does not show that the entries are true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orca_engine.item import Item
from orca_engine.machine import Call, Machine
from orca_engine.program import output_of, program_of
from orca_protocol.canonical import digest_of
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, Path
from orca_protocol.output import Output


def replay(item: Item, entries: Sequence[Entry], on_call: Callable[[], None] = lambda: None) -> Output:
    """Return the output that this engine reaches for ``item`` from ``entries``.

    ``on_call`` is called before each call is looked up: a caller with a deadline raises there.
    Raises InvalidError ``journal_order``, ``entry_missing``, ``entry_unasked``, ``request_differs``, or one of ``admit``.
    """
    by_path = _in_order(entries)
    machine = Machine(program_of(item))
    try:
        due = machine.start()
        while due:
            on_call()
            call = due.pop()
            entry = by_path.pop(call.path, None)
            if entry is None:
                raise InvalidError(
                    "entry_missing", f"the engine asks {call.name!r} at path {call.path}; the journal has no such entry"
                )
            refuse_difference(call, entry)
            due.extend(machine.feed(call.path, entry.outcome))
    finally:
        machine.close()
    if by_path:
        path = min(by_path)
        raise InvalidError("entry_unasked", f"the journal has an entry at path {path} that the engine never asks for")
    return output_of(item, machine.result, entries)


def refuse_difference(call: Call, entry: Entry) -> None:
    """Raise InvalidError ``request_differs`` unless ``entry`` records exactly ``call``."""
    if entry.name != call.name:
        raise InvalidError("request_differs", f"path {call.path}: the engine asks {call.name!r}, the journal says {entry.name!r}")
    digest = digest_of(call.request.document())
    if entry.request_digest != digest or digest_of(entry.request.document()) != digest:
        raise InvalidError("request_differs", f"path {call.path} ({call.name!r}): {_first_difference(call, entry)}")


def _first_difference(call: Call, entry: Entry) -> str:
    ours, theirs = call.request.document(), entry.request.document()
    for field, value in ours.items():
        if theirs.get(field) != value:
            return f"the engine would send another {field}"
    return "the request digest is not the digest of the request"


def _in_order(entries: Sequence[Entry]) -> dict[Path, Entry]:
    by_path: dict[Path, Entry] = {}
    previous: Path | None = None
    for number, entry in enumerate(entries, start=1):
        path = Path(*entry.path)
        if previous is not None and path <= previous:
            raise InvalidError("journal_order", f"entry {number} at path {path} does not come after path {previous}")
        by_path[path] = entry
        previous = path
    return by_path
