"""The proof package of a run: its files as bytes (contract §5).

    spec.json              the work item as received, its exact bytes
    journal.jsonl          one entry per line in path order
    output.json            what replay must reproduce
    statement.dsse.json    signed by the node; lists every file above with its SHA-256

The package of a leased run also holds its lease and its submission; a run that nobody leased has neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nacl.signing import SigningKey

from orca_engine import REVISION
from orca_protocol import dsse
from orca_protocol.canonical import sha256_hex
from orca_protocol.documents import write
from orca_protocol.journal import Entry, journal_bytes
from orca_protocol.keys import public_key_of
from orca_protocol.output import Output
from orca_protocol.statement import NO_NETWORK, Ceilings, DigestSet, RunPredicate, RunStatement, Subject

STATEMENT = "statement.dsse.json"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the package says of a run beside its spec, journal and output. Times are RFC 3339 in UTC."""

    run_id: str
    work_item: str
    started: str
    finished: str
    ceilings: Ceilings
    network: str = NO_NETWORK


def build_package(spec: bytes, entries: tuple[Entry, ...], output: Output, facts: RunFacts, key: SigningKey) -> dict[str, bytes]:
    """Return the package's files by name. The same inputs give the same bytes."""
    files = {"spec.json": spec, "journal.jsonl": journal_bytes(entries), "output.json": write(output)}
    files[STATEMENT] = sign_statement(files, output, facts, key)
    return files


def sign_statement(files: Mapping[str, bytes], output: Output, facts: RunFacts, key: SigningKey) -> bytes:
    """Return ``statement.dsse.json`` over ``files``."""
    statement = RunStatement(
        subject=tuple(Subject(name=name, digest=DigestSet(sha256=sha256_hex(files[name]))) for name in sorted(files)),
        predicate=RunPredicate(
            network=facts.network,
            work_item=facts.work_item,
            run_id=facts.run_id,
            node=public_key_of(key),
            engine_revision=REVISION,
            started=facts.started,
            finished=facts.finished,
            usage=output.usage,
            ceilings=facts.ceilings,
        ),
    )
    return dsse.sign(write(statement), key)
