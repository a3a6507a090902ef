"""What could not be fetched, asked or run is ``not_measured``: never approval, never rejection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from audit.auditor import run_check
from audit.case import Case
from audit.checks import CHECKS
from audit.finding import Finding
from audit.source import PackageLimits, from_blocks, from_car, from_folder
from orca_engine import REVISION
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.journal import Path as RunPath
from orca_protocol.journal import Stop, entry_for
from orca_protocol.model import Usage
from orca_protocol.verdict import CHECK_NAMES, decide
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.car import write_car
from proof_store.tree import write_tree
from proof_store.unixfs import Layout
from tests.unit.audit.packages import CLOSED, ITEM, OPEN, SIGNER, PretendedWeights, decode, entries_of, package, verdicts
from tests.unit.orca_engine.worlds import World, failing

HONEST = package()
REQUIRED = ("integrity", "authenticity", "replay")


def test_checks_run_in_the_order_of_the_contract() -> None:
    assert list(CHECKS) == [name for name in CHECK_NAMES if name in CHECKS]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (InvalidError("c", "d"), "mismatch"),
        (UnavailableError("c", "d"), "not_measured"),
        (LimitError("c", "d"), "not_measured"),
    ],
)
def test_one_place_turns_errors_into_verdicts(error: OrcaError, verdict: str) -> None:
    async def check(case: Case) -> Finding:
        raise error

    result = asyncio.run(run_check("x", check, Case(source=lambda: pytest.fail("not asked for"))))
    assert (result.verdict, result.code, result.detail) == (verdict, "c", "d")


def test_a_bug_in_a_check_is_not_a_verdict() -> None:
    async def check(case: Case) -> Finding:
        raise TypeError("bug")

    with pytest.raises(TypeError):
        asyncio.run(run_check("x", check, Case(source=lambda: pytest.fail("not asked for"))))


def fetched(error: OrcaError) -> Any:
    def source() -> Any:
        raise error

    return source


def audited(case: Case) -> dict[str, tuple[str, str]]:
    from audit.auditor import audit

    async def run() -> dict[str, tuple[str, str]]:
        return {result.check: (result.verdict, result.code) async for result in audit(case)}

    return asyncio.run(run())


def test_a_package_that_did_not_come_is_not_measured_by_any_check() -> None:
    found = audited(Case(source=fetched(UnavailableError("block_missing", "withheld")), signer=SIGNER))
    assert found["integrity"] == ("not_measured", "block_missing")
    assert {verdict for verdict, _ in found.values()} == {"not_measured"}


def test_a_bomb_is_a_fault_of_the_package() -> None:
    found = audited(Case(source=fetched(LimitError("read_bytes", "too much")), signer=SIGNER))
    assert found["integrity"] == ("mismatch", "package_oversize")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"total_bytes": 1024}, ("not_measured", "over_own_limits")),
        ({"files": 3}, ("not_measured", "over_own_limits")),
        ({"line_bytes": 100}, ("not_measured", "over_own_limits")),
        ({"seconds": 1e-6}, ("not_measured", "audit_timeout")),
    ],
)
def test_every_limit_on_a_strangers_package_is_kept(tmp_path: Path, limits: dict[str, Any], expected: tuple[str, str]) -> None:
    write_tree(HONEST, tmp_path / "package")
    kept = PackageLimits(**limits)
    case = Case(source=from_folder(tmp_path / "package", kept), signer=SIGNER, limits=kept)
    assert audited(case)["integrity"] == expected


def test_a_tree_that_was_cut_differently_is_not_the_protocols_package() -> None:
    blocks = MemoryBlocks()
    root = build_directory(HONEST, blocks, Layout(chunk_bytes=512, links_per_node=174)).cid
    assert audited(Case(source=from_blocks(root, blocks), signer=SIGNER))["integrity"] == ("mismatch", "cid_not_canonical")


def test_a_store_that_gives_other_bytes_says_nothing_of_the_worker() -> None:
    blocks = MemoryBlocks()
    root = build_directory(HONEST, blocks).cid
    victim = next(cid for cid, block in blocks.blocks.items() if block == HONEST["journal.jsonl"])
    blocks.blocks[victim] = HONEST["journal.jsonl"].replace(b"say", b"SAY")
    assert audited(Case(source=from_blocks(root, blocks), signer=SIGNER))["integrity"] == ("not_measured", "data_unavailable")


def test_a_car_file_is_read_and_a_cut_one_refused(tmp_path: Path) -> None:
    blocks = MemoryBlocks()
    root = build_directory(HONEST, blocks).cid
    path = tmp_path / "proof.car"
    with path.open("wb") as file:
        write_car(root, blocks, file)
    assert audited(Case(source=from_car(path), signer=SIGNER))["integrity"] == ("valid", "ok")
    path.write_bytes(path.read_bytes()[:-1])
    assert audited(Case(source=from_car(path), signer=SIGNER))["integrity"] == ("mismatch", "car_malformed")
    assert audited(Case(source=from_car(tmp_path / "absent.car"), signer=SIGNER))["integrity"] == (
        "not_measured",
        "file_unreadable",
    )


def test_a_replay_that_takes_too_long_here_is_not_measured(tmp_path: Path) -> None:
    write_tree(HONEST, tmp_path / "package")
    case = Case(source=from_folder(tmp_path / "package"), signer=SIGNER)
    assert asyncio.run(run_check("integrity", CHECKS["integrity"], case)).verdict == "valid"
    case.limits = PackageLimits(seconds=1e-9)
    result = asyncio.run(run_check("replay", CHECKS["replay"], case))
    assert (result.verdict, result.code) == ("not_measured", "audit_timeout")


def test_a_usage_that_the_weights_do_not_have_is_a_mismatch() -> None:
    """Nobody can inflate the bill of an open model: its tokens are counted when it is decoded again."""

    def answer(call: Any) -> Any:
        return decode(call.request).model_copy(update={"usage": Usage(input_tokens=5, output_tokens=5_000_000_000)})

    entries, _ = World(ITEM, answer=answer).run()
    found = verdicts(package(entries))
    assert found["replay"] == ("valid", "ok")
    assert found["inference"] == ("mismatch", "answer_differs")
    assert "usage" in found.results["inference"].detail


def test_an_unknown_signer_is_not_measured_and_ones_own_key_is_known() -> None:
    assert verdicts(HONEST, signer=None)["authenticity"] == ("not_measured", "signer_unknown")
    assert verdicts(HONEST, signer=None, own_key=SIGNER)["authenticity"] == ("valid", "ok")
    assert verdicts(HONEST, signer=None, own_key="another")["authenticity"] == ("not_measured", "signer_unknown")


def test_another_engine_revision_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.checks.replay.REVISION", REVISION + 1)
    assert verdicts(HONEST)["replay"] == ("not_measured", "engine_revision")


@pytest.mark.parametrize(
    "change", [{"numerics": "sha256:cc"}, {"engine": "e 2"}, {"digest": "sha256:dd"}, {"sampler": {"top_k": 1}}]
)
def test_other_arithmetic_is_not_measured_and_nothing_is_decoded(change: dict[str, Any]) -> None:
    weights = PretendedWeights(OPEN.model_copy(update=change))
    assert verdicts(HONEST, redecoder=weights)["inference"] == ("not_measured", "numerics_differ")
    assert weights.decoded == 0


def test_an_open_model_that_is_not_installed_here_is_not_measured() -> None:
    weights = PretendedWeights(OPEN.model_copy(update={"model": "other"}))
    assert verdicts(HONEST, redecoder=weights)["inference"] == ("not_measured", "model_not_installed")


def test_a_decode_that_fails_here_is_this_nodes_trouble() -> None:
    def refuse(request: Any) -> Any:
        raise InvalidError("context_exceeded", "too long for me")

    assert verdicts(HONEST, redecoder=PretendedWeights(answer=refuse))["inference"] == ("not_measured", "context_exceeded")


def test_a_node_whose_own_decodes_differ_cannot_judge() -> None:
    count = iter(range(1000))

    def unstable(request: Any) -> Any:
        return decode(request).model_copy(update={"content": f"say {next(count)}"})

    assert verdicts(HONEST, redecoder=PretendedWeights(answer=unstable))["inference"] == ("not_measured", "decode_unstable")


def test_a_difference_is_said_only_after_two_equal_decodes() -> None:
    weights = PretendedWeights(answer=lambda request: decode(request).model_copy(update={"content": "other", "tokens": (1,)}))
    found = verdicts(HONEST, redecoder=weights)
    assert found["inference"] == ("mismatch", "answer_differs")
    assert weights.decoded == 2
    assert "token 0" in found.results["inference"].detail


def test_one_answer_that_cannot_be_judged_does_not_hide_one_that_is_wrong() -> None:
    strange = OPEN.model_copy(update={"numerics": "sha256:zz"})

    def answer(call: Any) -> Any:
        if call.path.loop == 2:
            return decode(call.request).model_copy(update={"content": "invented"})
        return decode(call.request, strange)

    entries, _ = World(ITEM, answer=answer).run()
    assert verdicts(package(entries))["inference"] == ("mismatch", "answer_differs")


def test_hosted_and_open_answers_together_are_not_measured_but_the_open_ones_are_decoded() -> None:
    def answer(call: Any) -> Any:
        return decode(call.request, CLOSED if call.name == "A" else OPEN)

    entries, _ = World(ITEM, answer=answer).run()
    weights = PretendedWeights()
    assert verdicts(package(entries), redecoder=weights)["inference"] == ("not_measured", "closed_model")
    assert weights.decoded == 4


def test_the_rate_sets_the_share_of_answers_that_are_decoded() -> None:
    for rate, expected in [(1.0, 6), (0.5, 3), (0.1, 1), (0.0, 0)]:
        weights = PretendedWeights()
        found = verdicts(HONEST, redecoder=weights, inference_rate=rate)
        assert weights.decoded == expected
        assert found["inference"] == (("valid", "ok") if expected else ("not_measured", "not_sampled"))


def test_a_run_in_which_no_model_answered_has_nothing_to_decode() -> None:
    entries, _ = World(ITEM, answer=failing("A", "B", "C")).run()
    found = verdicts(package(entries))
    assert found["inference"] == ("not_applicable", "no_answers")
    assert found.mismatches == []


def test_a_stopped_run_is_a_sound_proof_of_a_partial_result() -> None:
    entries = entries_of()
    stopped = [
        entry_for(RunPath(*entry.path), entry.name, entry.request, entry.request_digest, Stop(reason="deadline"))
        for entry in entries[3:]
    ]
    found = verdicts(package([*entries[:3], *stopped]))
    assert found.mismatches == []
    assert found["inference"] == ("valid", "ok")


def test_an_honest_package_is_approved_and_a_tampered_one_rejected() -> None:
    assert decide(verdicts(HONEST).results.values(), REQUIRED).vote == "approve"
    assert decide(verdicts({**HONEST, "extra": b""}).results.values(), REQUIRED).vote == "reject"
    assert decide(verdicts(HONEST, signer=None).results.values(), REQUIRED).vote == "abstain"
