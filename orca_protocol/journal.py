"""The journal: one entry per answered request, and the paths that order them.

A path is (loop, step, visit, turn, tool): the swarm's pass (0 is preparation), the step within it, the place within a
parallel step in declared order, the agent's own loop, and a tool call within it. Entries stand in path order. That is
the engine's issue order when each request is answered at once, and it says nothing about when answers really came.

``attempts`` (how often a provider was tried, and when) is metadata: it is signed with the rest of the journal, but no
two executions share it, so ``journal_digest`` leaves it out. The digest is equal for equal (work item, answers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from orca_protocol.canonical import canonical
from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError, LimitError
from orca_protocol.model import Answer, Attempt, Failure, ModelRequest, Strict
from orca_protocol.world import FetchedImage, Input, Offer, Request, ToolResult, model_request

LINE_MAX_BYTES = 16 * 1024 * 1024
ENTRIES_MAX = 100_000

StopReason = Literal["cancelled", "deadline", "budget"]


class Path(NamedTuple):
    """Where in a run a request was made. Ordered as tuples are."""

    loop: int
    step: int
    visit: int
    turn: int = 0
    tool: int = 0

    def __str__(self) -> str:
        loop, step, visit, turn, tool = self
        return f"{loop}.{step}.{visit}.{turn}.{tool}"


class Stop(Strict):
    """The entry of every path that was open when the run was cancelled, timed out or ran out of budget."""

    reason: StopReason


#: what the world can put at a path
Outcome = Answer | Offer | ToolResult | FetchedImage | Input | Failure | Stop
Kind = Literal["answer", "offer", "tool", "image", "input", "error", "stop"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_NOTHING_SAID: dict[str, Any] = dict.fromkeys(_KINDS)
_KIND_OF: dict[type[Any], Kind] = {
    Answer: "answer",
    Offer: "offer",
    ToolResult: "tool",
    FetchedImage: "image",
    Input: "input",
    Failure: "error",
}
#: which kind answers a request, by what it ``asks``; an error or a stop may stand at any
_ANSWERS: dict[str, Kind] = {"offer": "offer", "tool": "tool", "image": "image", "input": "input"}

_Index = Annotated[int, Field(ge=0, le=1_000_000)]


class Entry(Strict):
    """One request and what became of it, which stands in the field that ``kind`` names."""

    path: tuple[_Index, _Index, _Index, _Index, _Index]
    kind: Kind
    #: the agent's name; it stands beside the path, never in it
    name: str
    #: SHA-256 (hex) over the canonical bytes of ``request``
    request_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    request: Request
    answer: Answer | None = None
    offer: Offer | None = None
    tool: ToolResult | None = None
    image: FetchedImage | None = None
    input: Input | None = None
    error: Failure | None = None
    stop: StopReason | None = None
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _one_outcome(self) -> Entry:
        present = [name for name in _KINDS if getattr(self, name) is not None]
        if present != [self.kind]:
            raise ValueError(f"an entry of kind {self.kind!r} must hold exactly {self.kind!r}; it holds {present}")
        _refuse_mispaired(self.request, self.kind)
        return self

    @property
    def asked(self) -> ModelRequest:
        """The request of a model call; RuntimeError if something else was asked."""
        return model_request(self.request)

    @property
    def outcome(self) -> Outcome:
        """What the engine is told."""
        if self.stop is not None:
            return Stop(reason=self.stop)
        outcome: Outcome = getattr(self, self.kind)
        return outcome


def _refuse_mispaired(request: Request, kind: Kind) -> None:
    wanted: Kind = "answer" if isinstance(request, ModelRequest) else _ANSWERS[request.asks]
    if kind not in {wanted, "error", "stop"}:
        raise ValueError(f"what was asked is answered by {wanted!r}, not by {kind!r}")


def entry_for(
    path: Path, name: str, request: Request, request_digest: str, outcome: Outcome, attempts: Sequence[Attempt] = ()
) -> Entry:
    """Return the entry that records ``outcome`` at ``path``. Its parts are valid already: only whether they fit is looked at."""
    kind: Kind = "stop" if isinstance(outcome, Stop) else _KIND_OF[type(outcome)]
    _refuse_mispaired(request, kind)
    fields: dict[str, Any] = {
        "path": tuple(path),
        "kind": kind,
        "name": name,
        "request_digest": request_digest,
        "request": request,
        **_NOTHING_SAID,
        "attempts": tuple(attempts),
    }
    fields[kind] = outcome.reason if isinstance(outcome, Stop) else outcome
    return Entry.made_of(fields)


def journal_bytes(entries: Iterable[Entry]) -> bytes:
    """Return ``journal.jsonl``: a canonical line per entry, in path order, each ended by a newline."""
    return b"".join(write(entry) + b"\n" for entry in sorted(entries, key=lambda entry: entry.path))


def read_journal(
    data: bytes, *, where: str = "journal.jsonl", line_bytes: int = LINE_MAX_BYTES, on_line: Callable[[], None] = lambda: None
) -> tuple[Entry, ...]:
    """Parse an untrusted journal. Its order is kept as found: whether it is the right one is for replay to say.

    ``on_line`` is called before each line: a caller with a deadline raises there.
    Raises InvalidError naming the line: ``journal_truncated``, ``journal_oversize``, ``not_canonical``, ``schema`` or
    a code of ``parse_json``.
    """
    if data and not data.endswith(b"\n"):
        raise InvalidError("journal_truncated", f"{where} does not end with a newline: its last line is cut")
    lines = data.split(b"\n")[:-1]
    if any(len(line) > line_bytes for line in lines):
        raise LimitError("journal_line", f"{where} has a line longer than the {line_bytes} bytes that are read")
    if len(lines) > ENTRIES_MAX:
        raise InvalidError("journal_oversize", f"{where} has {len(lines)} entries; at most {ENTRIES_MAX} are read")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        on_line()
        entries.append(read(Entry, line, max_bytes=line_bytes, where=f"{where} line {number}", canonical_only=True))
    return tuple(entries)


def journal_digest(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 (hex) of what replay depends on: every entry in path order, without ``attempts``."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.path):
        digest.update(canonical(entry.model_dump(mode="json", exclude_none=True, exclude={"attempts"})) + b"\n")
    return digest.hexdigest()
