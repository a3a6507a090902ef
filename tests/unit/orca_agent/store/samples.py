"""A run and entries to store."""

from __future__ import annotations

from orca_agent.store.journal import RunRecord
from orca_protocol.canonical import digest_of
from orca_protocol.journal import Entry, Path, entry_for
from orca_protocol.model import Answer, Attempt, Message, ModelIdentity, ModelRequest

REQUEST = ModelRequest(model="m", messages=(Message(role="user", content="Tä'sk\u2028"),), max_tokens=5, temperature=0.5, seed=7)
RUN = RunRecord(id="r1", item_id="i", spec=b"{}", started=100.0, deadline=160.0)
AT = "2026-01-01T00:00:00.000Z"


def entry(path: Path, text: str = "yes") -> Entry:
    answer = Answer(content=text, finish_reason="stop", model=ModelIdentity(provider="p", model="m"))
    attempt = Attempt(started=AT, duration_ms=3, outcome="answer")
    return entry_for(path, "A", REQUEST, digest_of(REQUEST.document()), answer, (attempt,))
