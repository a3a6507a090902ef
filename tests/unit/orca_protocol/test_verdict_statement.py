"""Verdict documents: signed by the auditor they name, and voting what follows from their checks."""

from __future__ import annotations

from typing import Any

import pytest
from nacl.signing import SigningKey

from orca_protocol import dsse
from orca_protocol.documents import write
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.verdict import CheckResult, Cost
from orca_protocol.verdict_statement import VerdictPredicate, VerdictStatement, open_verdict, sign_verdict

KEY = SigningKey(bytes(range(32)))
AUDITOR = public_key_of(KEY)


def result(check: str, says: str = "valid") -> CheckResult:
    return CheckResult.model_validate({"check": check, "verdict": says, "code": "ok", "detail": "", "cost": Cost(wall_ms=1)})


def verdict(**changed: Any) -> VerdictStatement:
    said: dict[str, Any] = {
        "network": "devnet-1",
        "task_id": "T",
        "round": 3,
        "work_item": "w1",
        "worker": public_key_of(SigningKey(bytes(32))),
        "auditor": AUDITOR,
        "required": ("replay",),
        "checks": (result("replay"),),
        "vote": "approve",
        "reason": "valid: replay",
        "issued": "2027-01-15T08:00:00.000Z",
    }
    predicate = VerdictPredicate.model_validate({**said, **changed})
    subject = {"name": "bafkreihazcitt6bk42eolwkdss5vzyghwyctlpsz7uv47q4jbv7rz5b7my", "digest": {"sha256": "0" * 64}}
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": (subject,),
        "predicateType": "urn:orca-node:verdict:v1",
        "predicate": predicate,
    }
    return VerdictStatement.model_validate(document)


def test_a_verdict_opens_for_its_auditor_and_nobody_else() -> None:
    data = sign_verdict(verdict(), KEY)
    assert open_verdict(data, AUDITOR) == verdict()
    with pytest.raises(InvalidError, match="signer"):
        open_verdict(data, public_key_of(SigningKey(bytes(32))))


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"vote": "reject"}, "verdict_inconsistent"),
        ({"vote": "abstain"}, "verdict_inconsistent"),
        ({"checks": (result("replay", "mismatch"),)}, "verdict_inconsistent"),
        ({"checks": ()}, "verdict_inconsistent"),
        ({"checks": (result("replay"), result("replay"))}, "verdict_inconsistent"),
        ({"checks": (result("replay"), result("luck"))}, "verdict_inconsistent"),
        ({"required": ()}, "verdict_inconsistent"),
        ({"auditor": public_key_of(SigningKey(bytes(32)))}, "verdict_signer"),
    ],
)
def test_a_vote_that_does_not_follow_is_no_verdict(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidError) as caught:
        sign_verdict(verdict(**changed), KEY)
    assert caught.value.code == code
    with pytest.raises(InvalidError) as caught:
        open_verdict(dsse.sign(write(verdict(**changed)), KEY), AUDITOR)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("says", "vote"), [("valid", "approve"), ("mismatch", "reject"), ("not_measured", "abstain"), ("not_applicable", "abstain")]
)
def test_each_vote_has_its_checks(says: str, vote: str) -> None:
    made = verdict(checks=(result("replay", says),), vote=vote)
    assert open_verdict(sign_verdict(made, KEY), AUDITOR).predicate.vote == vote
