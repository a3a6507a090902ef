"""The verdict in the form that other tools read: a SLSA Verification Summary Attestation (slsa.dev/spec/v1.1, VSA).

It says passed or failed, and by which policy, beside the verdict that says why. An abstention has none: the form knows
no third answer, and nothing may be read as passed because something was not measured.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from nacl.signing import SigningKey
from pydantic import Field

from orca_protocol import dsse
from orca_protocol.canonical import sha256_hex
from orca_protocol.documents import write
from orca_protocol.model import Strict
from orca_protocol.statement import STATEMENT_TYPE, DigestSet, Rfc3339, Subject
from orca_protocol.verdict_statement import VerdictStatement

VSA_PREDICATE: Final = "https://slsa.dev/verification_summary/v1"
#: names the checks of this protocol's version; the required ones stand behind it
POLICY_URI: Final = "urn:orca-node:policy:v1"
_RESULT: Final = {"approve": "PASSED", "reject": "FAILED"}


class _Verifier(Strict):
    id: str


class _Resource(Strict):
    uri: str
    digest: DigestSet | None = None


class _Summary(Strict):
    verifier: _Verifier
    time_verified: Annotated[Rfc3339, Field(alias="timeVerified")]
    resource_uri: Annotated[str, Field(alias="resourceUri")]
    policy: _Resource
    input_attestations: Annotated[tuple[_Resource, ...], Field(alias="inputAttestations")]
    verification_result: Annotated[Literal["PASSED", "FAILED"], Field(alias="verificationResult")]
    verified_levels: Annotated[tuple[str, ...], Field(alias="verifiedLevels")]
    slsa_version: Annotated[str, Field(alias="slsaVersion")] = "1.1"


class _Statement(Strict):
    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: Annotated[Literal["https://slsa.dev/verification_summary/v1"], Field(alias="predicateType")] = VSA_PREDICATE
    predicate: _Summary


def sign_vsa(verdict: VerdictStatement, document: bytes, key: SigningKey) -> bytes | None:
    """Return the signed summary of ``verdict``, whose own signed form is ``document``; None for an abstention."""
    said = verdict.predicate
    result = _RESULT.get(said.vote)
    if result is None:
        return None
    summary = _Summary(
        verifier=_Verifier(id=f"urn:orca-node:auditor:{said.auditor}"),
        time_verified=said.issued,
        resource_uri=f"ipfs://{verdict.cid}",
        policy=_Resource(uri=f"{POLICY_URI}?required={','.join(said.required)}"),
        input_attestations=(_Resource(uri="urn:orca-node:verdict:v1", digest=DigestSet(sha256=sha256_hex(document))),),
        verification_result="PASSED" if result == "PASSED" else "FAILED",
        verified_levels=tuple(f"ORCA_{check.check.upper().replace('-', '_')}" for check in said.checks if check.verdict == "valid"),
    )
    return dsse.sign(write(_Statement(subject=verdict.subject, predicate=summary)), key)
