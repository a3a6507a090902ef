"""The proof package of a run: its files as bytes.

    spec.json              the work item as received, its exact bytes
    journal.jsonl          one entry per line in path order
    output.json            what replay must reproduce
    statement.dsse.json    signed by the node; lists every file above with its SHA-256

The package of a leased run also holds

    lease.dsse.json        listed in the statement like every file above
    submission.json        signed last, over the statement's digest; what a Koii auditor opens first
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nacl.signing import SigningKey

from orca_engine import REVISION
from orca_protocol import dsse
from orca_protocol.budget import Ceilings
from orca_protocol.canonical import sha256_hex
from orca_protocol.documents import write
from orca_protocol.journal import Entry, journal_bytes
from orca_protocol.keys import public_key_of
from orca_protocol.lease import Lease
from orca_protocol.output import Output
from orca_protocol.statement import NO_NETWORK, DigestSet, RunPredicate, RunStatement, Subject
from orca_protocol.submission import Submission, sign_submission

STATEMENT = "statement.dsse.json"
LEASE = "lease.dsse.json"
SUBMISSION = "submission.json"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the package says of a run beside its spec, journal and output. Times are RFC 3339 in UTC."""

    run_id: str
    work_item: str
    started: str
    finished: str
    ceilings: Ceilings
    network: str = NO_NETWORK


@dataclass(frozen=True, slots=True)
class LeasedTo:
    """Under which lease, and for which round, a package claims payment."""

    #: ``lease.dsse.json`` as the middle server sent it
    envelope: bytes
    lease: Lease
    round: int
    #: the node's main account
    account: str


def build_package(
    spec: bytes, entries: tuple[Entry, ...], output: Output, facts: RunFacts, key: SigningKey, leased: LeasedTo | None = None
) -> dict[str, bytes]:
    """Return the package's files by name. The same inputs give the same bytes."""
    files = {"spec.json": spec, "journal.jsonl": journal_bytes(entries), "output.json": write(output)}
    if leased is not None:
        files[LEASE] = leased.envelope
    files[STATEMENT] = sign_statement(files, output, facts, key, leased)
    if leased is not None:
        files[SUBMISSION] = sign_submission(_submission(files[STATEMENT], leased, key), key)
    return files


def _submission(statement: bytes, leased: LeasedTo, key: SigningKey) -> Submission:
    return Submission(
        taskId=leased.lease.task_id,
        roundNumber=leased.round,
        stakingKey=public_key_of(key),
        pubKey=leased.account,
        workItemId=leased.lease.work_item,
        statementSha256=sha256_hex(statement),
    )


def sign_statement(
    files: Mapping[str, bytes], output: Output, facts: RunFacts, key: SigningKey, leased: LeasedTo | None = None
) -> bytes:
    """Return ``statement.dsse.json`` over ``files``."""
    lease = None if leased is None else leased.lease
    statement = RunStatement(
        subject=tuple(Subject(name=name, digest=DigestSet(sha256=sha256_hex(files[name]))) for name in sorted(files)),
        predicate=RunPredicate(
            network=facts.network,
            work_item=facts.work_item,
            task_id=None if lease is None else lease.task_id,
            round=None if leased is None else leased.round,
            lease_sha256=None if leased is None else sha256_hex(leased.envelope),
            fencing_token=None if lease is None else lease.fencing_token,
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
