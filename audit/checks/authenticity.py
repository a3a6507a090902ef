"""Check 2: the node that had to sign did sign exactly these files, and they are about this work item.

1. the envelope's Ed25519 signature is the expected signer's, over the bytes that were parsed   (forged, another key)
2. the statement names the signer as its node                                                   (a statement passed on)
3. the key is one that only its owner has                                                       (devnet keys)
4. every listed digest is the digest of its file                                                (edited files)
5. the work item named is the one in the package                                                (a proof of something else)
6. a lease is the middle server's, for this node, these bytes, this network, task and token      (a borrowed or edited lease)
7. the submission is the node's, for this statement, task, round and work item                  (a replayed submission)
8. network, task and round are those the auditor saw on the chain                               (a proof copied from another round)

It does not show that anything in the package is true, only who says it.
"""

from __future__ import annotations

from datetime import datetime

from audit.case import Case, Contents, Expected
from audit.claims import check_lease, check_submission
from audit.finding import Finding
from orca_protocol import dsse
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import is_devnet_key


async def check_authenticity(case: Case) -> Finding:
    """Check who signed what. Raises InvalidError for a fault, UnavailableError if the signer cannot be known."""
    contents = case.require_contents()
    files = contents.received.files
    signer = _expected_signer(case, contents)
    dsse.open_envelope(files["statement.dsse.json"], signer, where="statement.dsse.json")  # 1
    _check_node(contents, signer, case.network)
    _check_digests(contents)
    if contents.is_leased:
        case.lease = check_lease(contents, signer, case.lease_signer)
        check_submission(contents, signer)
    else:
        _check_work_item(contents)
        _check_no_claim(contents)
    _check_expected(contents, case.expected)
    return Finding(f"signed by {signer}", bytes=contents.received.size)


def _expected_signer(case: Case, contents: Contents) -> str:
    claimed = contents.envelope.signatures[0].keyid
    signer = case.signer if case.signer is not None else case.own_key if claimed == case.own_key else None
    if signer is None:
        raise UnavailableError(
            "signer_unknown", f"nobody said whose signature this must be (it claims {claimed[:60]!r}); give --signer"
        )
    return signer


def _check_node(contents: Contents, signer: str, network: str) -> None:
    predicate = contents.statement.predicate
    if predicate.node != signer:  # 2
        raise InvalidError("node_differs", f"signed by {signer} for a run of node {predicate.node[:60]!r}")
    if is_devnet_key(signer) and not network.startswith("devnet"):  # 3; the signer's own word for its network counts nothing
        raise InvalidError("devnet_key", f"{signer} is a devnet key that everybody has, and this auditor's network is {network!r}")
    if not _is_time(predicate.started) or not _is_time(predicate.finished) or predicate.finished < predicate.started:
        raise InvalidError("times_malformed", f"the run says it went from {predicate.started} to {predicate.finished}")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_digests(contents: Contents) -> None:  # 4
    for subject in contents.statement.subject:
        if sha256_hex(contents.received.files[subject.name]) != subject.digest.sha256:
            raise InvalidError("digest_differs", f"{subject.name} is not the file that was signed")


def _check_work_item(contents: Contents) -> None:  # 5
    expected = f"spec:{sha256_hex(contents.received.files['spec.json'])}"
    if contents.statement.predicate.work_item != expected:
        raise InvalidError(
            "work_item_differs", f"the statement is about {contents.statement.predicate.work_item[:80]!r}, not {expected}"
        )


def _check_no_claim(contents: Contents) -> None:
    predicate = contents.statement.predicate
    if predicate.lease_sha256 or predicate.fencing_token or predicate.task_id or predicate.round is not None:
        raise InvalidError("lease_missing", "the statement claims a lease, and the package has none")
    if "submission.json" in contents.received.files:
        raise InvalidError("lease_missing", "the package holds a submission and no lease to submit under")


def _check_expected(contents: Contents, expected: Expected | None) -> None:  # 8
    if expected is None:
        return
    predicate = contents.statement.predicate
    found = (predicate.network, predicate.task_id, predicate.round)
    if found != (expected.network, expected.task_id, expected.round):
        raise InvalidError(
            "round_differs", f"made for {found}, submitted for ({expected.network}, {expected.task_id}, {expected.round})"
        )
