"""``orca run`` where the run must wait: for its moment, or for a person."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orca_protocol.journal import read_journal
from tests.fakes.scripted_server import ScriptedServer
from tests.unit.orca.console import Console

FLOW = {"swarm_type": "AgentRearrange", "rearrange_flow": "A -> H -> B"}


def in_seconds(seconds: float) -> dict[str, Any]:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"schedule": {"scheduled_time": at.replace(tzinfo=None).isoformat(), "timezone": "UTC"}}


def test_a_scheduled_run_waits_in_the_foreground_and_says_so(online: Console, server: ScriptedServer) -> None:
    begun = time.monotonic()
    ended = online("run", online.spec("A", **in_seconds(1.0)))
    assert ended.code == 0, ended.stderr
    assert time.monotonic() - begun >= 0.9
    assert "waits here until" in ended.stderr
    assert "orca submit" in ended.stderr


def test_an_interrupted_run_goes_on_although_its_moment_is_over(online: Console, server: ScriptedServer) -> None:
    spec = online.spec("A", **in_seconds(-3600))
    refused = online("run", spec, "--json")
    assert (refused.code, refused.document["code"]) == (1, "schedule_past")
    assert online("run", spec, "--resume").code == 0
    assert server.stats()["total"] == 1


def test_rea_7_a_run_that_asks_a_person_stops_and_goes_on_with_the_answer(online: Console, server: ScriptedServer) -> None:
    spec, proof = online.spec("A", "B", **FLOW), online.folder / "proof"
    stopped = online("run", spec, "--out", proof)
    assert stopped.code == 1
    assert "out(A,1)" in stopped.stdout
    assert f"orca run {spec} --resume --out {proof} --input TEXT" in stopped.stderr
    assert not proof.exists()
    ended = online("run", spec, "--resume", "--out", proof, "--input", "OK", "--json")
    assert ended.code == 0, ended.stderr
    assert [message["content"] for message in ended.document["output"]] == ["out(A,1)", "OK", "out(B,1)"]
    assert server.stats()["total"] == 2, "nothing is asked again"
    kinds = [entry.kind for entry in read_journal((proof / "journal.jsonl").read_bytes())]
    assert kinds == ["answer", "input", "answer"]
    verified = online("verify", proof, "--level", "replay", "--json")
    checks = {check["check"]: check["verdict"] for check in verified.document["checks"]}
    assert (verified.code, checks["replay"], checks["integrity"]) == (0, "valid", "valid")


def test_an_input_that_was_edited_in_a_proof_is_found(online: Console, server: ScriptedServer) -> None:
    proof = online.folder / "proof"
    assert online("run", online.spec("A", "B", **FLOW), "--out", proof, "--input", "OK").code == 0
    _edit(proof / "journal.jsonl", '"input":{"content":"OK"}', '"input":{"content":"NO"}')
    verified = online("verify", proof, "--level", "replay", "--json")
    checks = {check["check"]: check["verdict"] for check in verified.document["checks"]}
    assert (verified.code, checks["replay"]) == (1, "mismatch")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_asked_is_a_document_too(online: Console, server: ScriptedServer) -> None:
    document = online("run", online.spec("A", "B", **FLOW), "--json").document
    assert (document["code"], document["status"]) == ("awaiting_input", "awaiting_input")
    assert document["asked"][0]["step"] == "H"
    assert document["asked"][0]["messages"][-1]["content"] == "A: out(A,1)"


def test_answers_are_taken_in_the_order_of_the_questions(online: Console, server: ScriptedServer) -> None:
    spec = online.spec("A", "B", swarm_type="AgentRearrange", rearrange_flow="H -> A -> H -> B")
    ended = online("run", spec, "--input", "one", "--input", "two", "--json")
    assert [message["content"] for message in ended.document["output"]] == ["one", "out(A,1)", "two", "out(B,1)"]


@pytest.mark.parametrize("text", ["", "x" * 1_000_001])
def test_an_answer_that_is_none_is_refused(online: Console, server: ScriptedServer, text: str) -> None:
    ended = online("run", online.spec("A", "B", **FLOW), "--input", text, "--json")
    assert (ended.code, ended.document["code"]) == (1, "schema")
    assert "--input" in ended.document["detail"]


def test_an_answer_that_nobody_asks_for_is_refused_before_anything_is_asked(online: Console, server: ScriptedServer) -> None:
    ended = online("run", online.spec("A"), "--input", "OK", "--json")
    assert (ended.code, ended.document["code"]) == (1, "input_unasked")
    assert server.stats()["total"] == 0


@pytest.mark.parametrize(("typed", "code"), [("it is fine\n", 0), ("\n", 1), ("", 1)])
def test_at_a_terminal_the_person_is_asked(
    online: Console, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr("orca.cli.run.is_at_terminal", lambda *, as_json: not as_json)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    ended = online("run", online.spec("A", "B", **FLOW))
    assert ended.code == code, ended.stderr
    assert "[H] your turn" in ended.stderr
    assert ("it is fine" in ended.stdout) == (code == 0)
    assert json.dumps(server.stats()["calls"]) == json.dumps({"A": 1, "B": 1} if code == 0 else {"A": 1})
