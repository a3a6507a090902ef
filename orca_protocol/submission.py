"""``submission.json``: what a Koii auditor opens first, in the signature form that Koii's tasks always used.

The node signs which statement it submits for which round of which task. Exactly canonical bytes; the statement's digest is
over ``statement.dsse.json`` as it lies in the package, so nothing in the package can change under a submission.
"""

from __future__ import annotations

from typing import Any

from nacl.signing import SigningKey
from pydantic import ValidationError

from orca_protocol.documents import describe, read, write
from orca_protocol.envelope import open_envelope, seal
from orca_protocol.errors import InvalidError
from orca_protocol.lease import PublicKey
from orca_protocol.model import Natural, Strict
from orca_protocol.statement import Sha256

SUBMISSION_MAX_BYTES = 32 * 1024


class Submission(Strict):
    """The signed payload. Fields are named as Koii's nodes name them."""

    taskId: str  # noqa: N815 - the wire's own spelling, here and below
    roundNumber: Natural  # noqa: N815
    stakingKey: PublicKey  # noqa: N815
    #: the node's main account
    pubKey: PublicKey  # noqa: N815
    workItemId: str  # noqa: N815
    statementSha256: Sha256  # noqa: N815


class _File(Strict):
    signature: str


def sign_submission(submission: Submission, key: SigningKey) -> bytes:
    """Return ``submission.json``, signed with the staking key."""
    return write(_File(signature=seal(submission.document(), key)))


def open_submission(data: bytes, staking_key: str, *, where: str = "submission.json") -> Submission:
    """Return the submission that ``staking_key`` signed.

    Raises InvalidError: the codes of ``read`` and ``open_envelope``, ``schema``, or ``submission_key`` (it names another key).
    """
    file = read(_File, data, max_bytes=SUBMISSION_MAX_BYTES, where=where, canonical_only=True)
    submission = _parse(open_envelope(file.signature, staking_key, where=where), where)
    if submission.stakingKey != staking_key:
        raise InvalidError("submission_key", f"{where} names another staking key than the one that signed it")
    return submission


def _parse(payload: dict[str, Any], where: str) -> Submission:
    try:
        return Submission.model_validate(payload)
    except ValidationError as error:
        raise InvalidError("schema", f"{where}: {describe(error)}") from error
