"""What check 2 wants of a leased package: a lease and a submission that belong to it, and to each other."""

from __future__ import annotations

from audit.case import Contents
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.lease import Lease, open_lease
from orca_protocol.submission import open_submission


def check_lease(contents: Contents, signer: str, lease_signer: str | None) -> Lease:
    """Return the lease if it is the middle server's and binds this package.

    Raises InvalidError naming the first thing that differs, UnavailableError ``lease_signer_unknown``.
    """
    if lease_signer is None:
        raise UnavailableError("lease_signer_unknown", "this node does not know whose leases count; name the middle server's key")
    files, predicate = contents.received.files, contents.statement.predicate
    lease = open_lease(files["lease.dsse.json"], lease_signer)
    bound = {
        "worker": (lease.worker, signer),
        "spec_sha256": (lease.spec_sha256, sha256_hex(files["spec.json"])),
        "work_item": (lease.work_item, predicate.work_item),
        "network": (lease.network, predicate.network),
        "task_id": (lease.task_id, predicate.task_id),
        "fencing_token": (lease.fencing_token, predicate.fencing_token),
        "lease_sha256": (sha256_hex(files["lease.dsse.json"]), predicate.lease_sha256),
        "engine_revision": (lease.engine_revision, predicate.engine_revision),
    }
    for field, (leased, claimed) in bound.items():
        if leased != claimed:
            raise InvalidError("lease_differs", f"the lease is for another {field} than the package: {leased!r}, not {claimed!r}")
    return lease


def check_submission(contents: Contents, signer: str) -> None:
    """Raise InvalidError unless ``submission.json`` is ``signer``'s, for this statement and what it claims."""
    files, predicate = contents.received.files, contents.statement.predicate
    if "submission.json" not in files:
        raise InvalidError("submission_missing", "a leased package needs the submission that its worker signed")
    submission = open_submission(files["submission.json"], signer)
    bound = {
        "taskId": (submission.taskId, predicate.task_id),
        "roundNumber": (submission.roundNumber, predicate.round),
        "workItemId": (submission.workItemId, predicate.work_item),
        "statementSha256": (submission.statementSha256, sha256_hex(files["statement.dsse.json"])),
    }
    for field, (submitted, claimed) in bound.items():
        if submitted != claimed:
            raise InvalidError("submission_differs", f"submission.json is for another {field}: {submitted!r}, not {claimed!r}")
