"""The verdict as a document: an in-toto Statement about one proof, signed by the auditor's staking key.

Its subject is the proof: named by its root CID, with the SHA-256 of its ``statement.dsse.json``. The vote is not the
auditor's word: it must be what ``decide`` makes of the checks, or the document is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from nacl.signing import SigningKey
from pydantic import Field

from orca_protocol import dsse
from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.lease import CheckName, PublicKey
from orca_protocol.model import Natural, Strict
from orca_protocol.statement import STATEMENT_TYPE, Rfc3339, Subject
from orca_protocol.verdict import CHECK_NAMES, CheckResult, Vote, decide

VERDICT_MAX_BYTES = 256 * 1024


class VerdictPredicate(Strict):
    """What the auditor says, and about whose work in which round."""

    network: Annotated[str, Field(min_length=1, max_length=64)]
    task_id: Annotated[str, Field(min_length=1, max_length=64)]
    round: Natural
    work_item: Annotated[str, Field(min_length=1, max_length=200)]
    #: who put the proof on chain: the same bytes under another key are another claim
    worker: PublicKey
    auditor: PublicKey
    #: the checks that the lease requires
    required: Annotated[tuple[CheckName, ...], Field(max_length=len(CHECK_NAMES))]
    checks: Annotated[tuple[CheckResult, ...], Field(max_length=len(CHECK_NAMES))]
    vote: Vote
    reason: Annotated[str, Field(max_length=4096)]
    issued: Rfc3339


class VerdictStatement(Strict):
    """The statement that an auditor signs."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[Literal["urn:orca-node:verdict:v1"], Field(alias="predicateType")] = "urn:orca-node:verdict:v1"
    predicate: VerdictPredicate

    @property
    def cid(self) -> str:
        """The root CID of the proof."""
        return self.subject[0].name


def sign_verdict(verdict: VerdictStatement, key: SigningKey) -> bytes:
    """Return the signed document. Raises InvalidError ``verdict_signer`` or ``verdict_inconsistent`` for what would not open."""
    _check(verdict, public_key_of(key), "verdict")
    return dsse.sign(write(verdict), key)


def open_verdict(data: bytes, auditor: str, *, where: str = "verdict.dsse.json") -> VerdictStatement:
    """Return the verdict that ``auditor`` signed.

    Raises InvalidError as ``dsse.open_envelope`` and ``read`` do, ``verdict_signer`` or ``verdict_inconsistent``.
    """
    payload = dsse.open_envelope(data, auditor, where=where)
    verdict = read(VerdictStatement, payload, max_bytes=VERDICT_MAX_BYTES, where=where, canonical_only=True)
    _check(verdict, auditor, where)
    return verdict


def _check(verdict: VerdictStatement, auditor: str, where: str) -> None:
    said = verdict.predicate
    if said.auditor != auditor:
        raise InvalidError("verdict_signer", f"{where}: it names the auditor {said.auditor}, but {auditor} signs it")
    names = [result.check for result in said.checks]
    if len(set(names)) != len(names) or not set(names) <= set(CHECK_NAMES):
        raise InvalidError("verdict_inconsistent", f"{where}: a check stands there twice or is none of {', '.join(CHECK_NAMES)}")
    follows = decide(said.checks, said.required)
    if said.vote != follows.vote:
        raise InvalidError("verdict_inconsistent", f"{where}: it votes {said.vote}, but from its checks follows {follows.vote}")
