"""Check 1: the bytes are those the CID names, within limits, and every file is what its name says.

1. fetch, bounded; every block hashes to its CID, and the files have no other CID   (a lying store, a bomb, a second name)
2. only the package's own names, and none missing            (smuggled or dropped files)
3. every file parses strictly and canonically                (two readers, two meanings)
4. the statement lists exactly the files that are there      (unlisted, missing)
"""

from __future__ import annotations

import asyncio

from audit.case import Case, Contents
from audit.deadline import Deadline
from audit.finding import Finding
from audit.source import PackageLimits, Received, Source
from orca_protocol import dsse
from orca_protocol.documents import read
from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from orca_protocol.journal import read_journal
from orca_protocol.output import OUTPUT_MAX_BYTES, Output
from orca_protocol.spec import read_spec
from orca_protocol.statement import RunStatement
from proof_store.builder import root_of

REQUIRED_FILES = frozenset({"spec.json", "journal.jsonl", "output.json", "statement.dsse.json"})
#: present in leased runs only
OPTIONAL_FILES = frozenset({"lease.dsse.json", "submission.json"})
#: what the statement cannot list: itself, and what is made after it
_UNLISTED = frozenset({"statement.dsse.json", "submission.json"})
_FREE_FOLDERS = ("artifacts/", "tlog/")


async def check_integrity(case: Case) -> Finding:
    """Fetch and parse the package. Raises InvalidError for a fault in its bytes, UnavailableError if they did not come."""
    case.contents = await asyncio.to_thread(_receive, case.source, case.limits)
    received = case.contents.received
    return Finding(f"{len(received.files)} files, {received.size} bytes, {received.cid}", bytes=received.size)


def _receive(source: Source, limits: PackageLimits) -> Contents:
    deadline = Deadline(limits.seconds)
    try:
        received = source()
        if root_of(received.files) != received.cid:
            raise InvalidError("cid_not_canonical", "these files have another CID in the protocol's layout")
        _check_names(received)
        return _parse(received, limits, deadline)
    except LimitError as error:
        if limits.are_below_the_protocols:  # an honest package may well be larger than this operator wants to read
            raise UnavailableError("over_own_limits", f"more than this auditor was set to read: {error.detail}") from error
        raise InvalidError("package_oversize", f"more than any honest proof holds: {error.detail}") from error


def _check_names(received: Received) -> None:
    names = set(received.files)
    if missing := sorted(REQUIRED_FILES - names):
        raise InvalidError("file_missing", f"the package has no {', '.join(missing)}")
    known = REQUIRED_FILES | OPTIONAL_FILES
    if strange := sorted(name for name in names - known if not name.startswith(_FREE_FOLDERS)):
        raise InvalidError("file_unlisted", f"the package holds {strange[0]!r}, which no package has")


def _parse(received: Received, limits: PackageLimits, deadline: Deadline) -> Contents:
    files = received.files
    envelope = dsse.read_envelope(files["statement.dsse.json"], where="statement.dsse.json")
    payload = dsse.payload_of(envelope, where="statement.dsse.json")
    statement = read(RunStatement, payload, max_bytes=dsse.ENVELOPE_MAX_BYTES, where="statement", canonical_only=True)
    _check_listing(statement, received)
    return Contents(
        received=received,
        spec=read_spec(files["spec.json"], where="spec.json"),
        entries=read_journal(files["journal.jsonl"], line_bytes=limits.line_bytes, on_line=deadline.check),
        output=read(Output, files["output.json"], max_bytes=OUTPUT_MAX_BYTES, where="output.json", canonical_only=True),
        envelope=envelope,
        statement=statement,
    )


def _check_listing(statement: RunStatement, received: Received) -> None:
    listed = [subject.name for subject in statement.subject]
    if len(set(listed)) != len(listed):
        raise InvalidError("subject_twice", "the statement lists a file twice")
    present = set(received.files) - _UNLISTED
    if unlisted := sorted(present - set(listed)):
        raise InvalidError("file_unlisted", f"{unlisted[0]!r} is in the package but not in its statement")
    if missing := sorted(set(listed) - present):
        raise InvalidError("file_missing", f"the statement lists {missing[0]!r}, which is not in the package")
