"""Folders of verdicts, and the summaries that other tools read."""

from __future__ import annotations

import json

import pytest
from nacl.signing import SigningKey

from orca_protocol import dsse
from orca_protocol.errors import InvalidError
from orca_protocol.keys import public_key_of
from orca_protocol.verdict_bundle import SignedVerdict, read_bundle, write_bundle
from orca_protocol.verdict_statement import VerdictStatement, sign_verdict
from orca_protocol.vsa import sign_vsa
from tests.unit.orca_protocol.test_verdict_statement import AUDITOR, KEY, result, verdict


def signed(said: VerdictStatement) -> SignedVerdict:
    document = sign_verdict(said, KEY)
    return SignedVerdict(said.predicate.worker, said.cid, document, sign_vsa(said, document, KEY))


REJECT = verdict(checks=(result("replay", "mismatch"),), vote="reject", reason="replay: ok")
ABSTAIN = verdict(checks=(result("replay", "not_measured"),), vote="abstain", reason="replay: ok")


def test_a_folder_gives_back_what_its_auditor_said() -> None:
    files = write_bundle([signed(verdict())])
    assert sorted(name.rsplit(".", 3)[1] for name in files) == ["verdict", "vsa"]
    assert read_bundle(files, AUDITOR) == (verdict(),)


def test_a_folder_of_nothing_is_no_submission() -> None:
    with pytest.raises(InvalidError, match="bundle_empty"):
        write_bundle([])


def test_a_verdict_that_is_wrong_counts_as_not_said_and_takes_nothing_from_the_others() -> None:
    files = write_bundle([signed(verdict())])
    name = next(name for name in files if name.endswith(".verdict.dsse.json"))
    stranger = SigningKey(bytes(32))
    assert read_bundle({**files, f"{'9' * 32}-x.verdict.dsse.json": files[name]}, AUDITOR) == (verdict(),), "under a false name"
    assert read_bundle({**files, "0.verdict.dsse.json": b"{"}, AUDITOR) == (verdict(),)
    assert read_bundle(files, public_key_of(stranger)) == ()


@pytest.mark.parametrize(("said", "word"), [(verdict(), "PASSED"), (REJECT, "FAILED")])
def test_the_summary_says_passed_or_failed_and_names_the_verdict(said: VerdictStatement, word: str) -> None:
    made = signed(said)
    assert made.vsa is not None
    summary = json.loads(dsse.open_envelope(made.vsa, AUDITOR, where="vsa"))
    assert summary["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert summary["predicate"]["verificationResult"] == word
    assert summary["predicate"]["resourceUri"] == f"ipfs://{said.cid}"
    assert summary["predicate"]["verifiedLevels"] == (["ORCA_REPLAY"] if word == "PASSED" else [])
    assert summary["predicate"]["timeVerified"] == said.predicate.issued


def test_an_abstention_has_no_summary_that_could_be_read_as_passed() -> None:
    assert signed(ABSTAIN).vsa is None
    assert len(write_bundle([signed(ABSTAIN)])) == 1
