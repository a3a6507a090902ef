"""How checks add up: mismatch rejects, everything required valid approves, the rest abstains. Never anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.verdict import CHECK_NAMES, CheckResult, Cost, decide

VERDICTS = st.sampled_from(["valid", "mismatch", "not_measured", "not_applicable"])


def result(check: str, verdict: str) -> CheckResult:
    return CheckResult.model_validate({"check": check, "verdict": verdict, "code": "c", "detail": "d", "cost": Cost(wall_ms=1)})


@given(st.dictionaries(st.sampled_from(CHECK_NAMES), VERDICTS), st.sets(st.sampled_from(CHECK_NAMES)))
def test_the_rule(verdicts: dict[str, str], required: set[str]) -> None:
    decision = decide([result(check, verdict) for check, verdict in verdicts.items()], sorted(required))
    if "mismatch" in verdicts.values():
        assert decision.vote == "reject"
    elif required and all(verdicts.get(check) == "valid" for check in required):
        assert decision.vote == "approve"
    else:
        assert decision.vote == "abstain"
    assert decision.reason


def test_nothing_required_approves_nothing() -> None:
    assert decide([result("integrity", "valid")], []).vote == "abstain"


def test_an_abstention_says_which_check_did_not_answer() -> None:
    decision = decide([result("integrity", "valid"), result("replay", "not_measured")], ["integrity", "replay", "inference"])
    assert decision.reason == "replay: c; inference: not run"
