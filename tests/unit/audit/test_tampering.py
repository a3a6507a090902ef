"""Every way to tamper with a proof, and the check that catches it. Where nothing does, the test says so."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orca_engine.transcript
from orca_engine.replay import replay
from orca_protocol import dsse
from orca_protocol.canonical import canonical, sha256_hex
from orca_protocol.documents import read, write
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, journal_bytes
from orca_protocol.keys import devnet_key, public_key_of
from orca_protocol.output import Output
from orca_protocol.statement import RunStatement
from tests.unit.audit.packages import CLOSED, ITEM, KEY, OTHER_KEY, SIGNER, SPEC, decode, entries_of, package, verdicts
from tests.unit.orca_engine.worlds import agent

HONEST = package()
ENTRIES = sorted(entries_of(), key=lambda entry: entry.path)


def resigned(files: dict[str, bytes], key: Any = KEY, **predicate: Any) -> dict[str, bytes]:
    """What the signer itself can do: sign whatever files there are, and say whatever it likes about them."""
    statement = json.loads(base64.b64decode(json.loads(files["statement.dsse.json"])["payload"]))
    rest = {name: data for name, data in files.items() if name != "statement.dsse.json"}
    statement["subject"] = [{"name": name, "digest": {"sha256": sha256_hex(rest[name])}} for name in sorted(rest)]
    statement["predicate"].update(predicate)
    return {**rest, "statement.dsse.json": dsse.sign(canonical(statement), key)}


def with_journal(entries: list[Entry]) -> bytes:
    return b"".join(write(entry) + b"\n" for entry in entries)


def invented(entry: Entry, text: str = "an invented answer") -> Entry:
    assert entry.answer is not None
    return entry.model_copy(update={"answer": entry.answer.model_copy(update={"content": text})})


def test_an_honest_package_is_valid_in_every_check() -> None:
    found = verdicts(HONEST)
    assert found["integrity"] == found["authenticity"] == found["replay"] == found["inference"] == ("valid", "ok")
    assert found["eligibility"] == ("not_applicable", "no_lease")
    assert found.results["inference"].cost.tokens == 6 * 4


@given(st.sampled_from(sorted(HONEST)), st.data())
def test_a_flipped_bit_in_any_file_is_caught_by_integrity_or_authenticity(name: str, data: st.DataObject) -> None:
    flipped = bytearray(HONEST[name])
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = verdicts({**HONEST, name: bytes(flipped)})
    assert {"integrity", "authenticity"} & set(found.mismatches)


@pytest.mark.parametrize("name", sorted(HONEST))
def test_a_missing_file_is_caught_by_integrity(name: str) -> None:
    files = {other: data for other, data in HONEST.items() if other != name}
    assert verdicts(files)["integrity"] == ("mismatch", "file_missing")


@pytest.mark.parametrize("name", ["notes.txt", "artifacts/firmware.elf", "Spec.json"])
def test_an_unlisted_file_is_caught_by_integrity(name: str) -> None:
    assert verdicts({**HONEST, name: b"x"})["integrity"] == ("mismatch", "file_unlisted")


def test_a_listed_artifact_is_part_of_the_proof() -> None:
    files = resigned({**HONEST, "artifacts/report.md": b"report"})
    assert verdicts(files).mismatches == []
    assert verdicts({**files, "artifacts/report.md": b"Report"})["authenticity"] == ("mismatch", "digest_differs")


def test_reordered_entries_without_signing_again_are_caught_by_authenticity() -> None:
    files = {**HONEST, "journal.jsonl": with_journal(ENTRIES[::-1])}
    assert verdicts(files)["authenticity"] == ("mismatch", "digest_differs")


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (ENTRIES[::-1], "journal_order"),
        ([ENTRIES[1], ENTRIES[0], *ENTRIES[2:]], "journal_order"),
        ([ENTRIES[0], *ENTRIES], "journal_order"),
        (ENTRIES[:-1], "entry_missing"),
        (ENTRIES[1:], "entry_missing"),
        ([], "entry_missing"),
    ],
    ids=["reversed", "swapped", "duplicated", "last dropped", "first dropped", "all dropped"],
)
def test_reordered_dropped_and_duplicated_entries_signed_by_the_node_are_caught_by_replay(entries: list[Entry], code: str) -> None:
    files = resigned({**HONEST, "journal.jsonl": with_journal(entries)})
    found = verdicts(files)
    assert found["authenticity"] == ("valid", "ok")
    assert found["replay"] == ("mismatch", code)


def test_an_answer_edited_without_signing_again_is_caught_by_authenticity() -> None:
    files = {**HONEST, "journal.jsonl": with_journal([invented(ENTRIES[0]), *ENTRIES[1:]])}
    assert verdicts(files)["authenticity"] == ("mismatch", "digest_differs")


def test_an_answer_edited_by_the_signer_without_running_again_is_caught_by_replay() -> None:
    """A later round quotes the answer, so its requests no longer fit; in the last round it is the output that does not."""
    for place, code in [(0, "request_differs"), (5, "output_differs")]:
        edited = [*ENTRIES[:place], invented(ENTRIES[place]), *ENTRIES[place + 1 :]]
        found = verdicts(resigned({**HONEST, "journal.jsonl": with_journal(edited)}))
        assert found["authenticity"] == ("valid", "ok")
        assert found["replay"] == ("mismatch", code)


def test_an_output_edited_by_the_signer_is_caught_by_replay() -> None:
    output = read(Output, HONEST["output.json"], max_bytes=10**6, where="output")
    edited = output.model_copy(update={"status": "partial"})
    assert verdicts(resigned({**HONEST, "output.json": write(edited)}))["replay"] == ("mismatch", "output_differs")


def run_on_invented(identity: Any) -> dict[str, bytes]:
    """The real engine, run by the signer on an answer it made up: everything fits, nothing is true."""
    from tests.unit.orca_engine.worlds import World

    def answer(call: Any) -> Any:
        true = decode(call.request, identity)
        return true.model_copy(update={"content": "an invented answer"}) if call.path == (1, 0, 0, 0, 0) else true

    entries, _ = World(ITEM, answer=answer).run()
    return package(entries)


def test_an_invented_answer_of_an_open_model_run_through_the_engine_is_caught_by_inference() -> None:
    from tests.unit.audit.packages import OPEN

    found = verdicts(run_on_invented(OPEN))
    assert found.mismatches == ["inference"]
    assert found["inference"] == ("mismatch", "answer_differs")
    assert "1.0.0.0.0" in found.results["inference"].detail


def test_an_invented_answer_of_a_hosted_model_run_through_the_engine_is_not_caught_by_any_check() -> None:
    """Nobody can decode a hosted model again. The audit says ``closed_model`` and does not claim more than it knows."""
    found = verdicts(run_on_invented(CLOSED))
    assert found.mismatches == []
    assert found["inference"] == ("not_measured", "closed_model")


def test_an_answer_from_another_run_of_another_task_is_caught_by_replay() -> None:
    other = sorted(entries_of(ITEM.local(SPEC.replace(b"TASK", b"TUSK"))), key=lambda entry: entry.path)
    found = verdicts(resigned({**HONEST, "journal.jsonl": with_journal([other[0], *ENTRIES[1:]])}))
    assert found["replay"] == ("mismatch", "request_differs")


def test_an_answer_moved_from_another_run_under_this_runs_request_is_caught_by_inference() -> None:
    """The thief copies the answer alone, and runs the engine on it: only decoding can tell."""
    assert verdicts(run_on_invented_with_foreign_answer()).mismatches == ["inference"]


def run_on_invented_with_foreign_answer() -> dict[str, bytes]:
    from tests.unit.orca_engine.worlds import World

    foreign = entries_of(ITEM.local(SPEC.replace(b"TASK", b"TUSK")))[0].answer

    def answer(call: Any) -> Any:
        return foreign if call.path == (2, 0, 1, 0, 0) else decode(call.request)

    entries, _ = World(ITEM, answer=answer).run()
    return package(entries)


def test_a_package_signed_with_another_key_is_caught_by_authenticity() -> None:
    assert verdicts(package(key=OTHER_KEY))["authenticity"] == ("mismatch", "signer")
    # the thief signs an honest node's files in its own name, or claims the honest node's keyid
    assert verdicts(resigned(HONEST, OTHER_KEY), signer=public_key_of(OTHER_KEY))["authenticity"] == ("mismatch", "node_differs")
    forged = json.loads(package(key=OTHER_KEY)["statement.dsse.json"])
    forged["signatures"][0]["keyid"] = SIGNER
    files = {**package(key=OTHER_KEY), "statement.dsse.json": canonical(forged)}
    assert verdicts(files)["authenticity"] == ("mismatch", "signature")


def test_a_devnet_key_proves_nothing_outside_a_devnet() -> None:
    key = devnet_key(0)
    assert verdicts(package(key=key), signer=public_key_of(key))["authenticity"] == ("mismatch", "devnet_key")
    claimed = package(key=key, network="devnet-1")
    assert verdicts(claimed, signer=public_key_of(key))["authenticity"] == ("mismatch", "devnet_key")
    assert verdicts(claimed, signer=public_key_of(key), network="devnet-1")["authenticity"] == ("valid", "ok")


def test_loose_base64_is_caught_by_integrity_or_authenticity() -> None:
    envelope = json.loads(HONEST["statement.dsse.json"])
    loose_payload = {**envelope, "payload": envelope["payload"].rstrip("=") + "\n"}
    assert verdicts({**HONEST, "statement.dsse.json": canonical(loose_payload)})["integrity"] == ("mismatch", "base64")
    signature = envelope["signatures"][0]["sig"]
    assert signature.endswith("==")
    other_spelling = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    loose_signature = {**envelope, "signatures": [{**envelope["signatures"][0], "sig": other_spelling}]}
    assert verdicts({**HONEST, "statement.dsse.json": canonical(loose_signature)})["authenticity"] == ("mismatch", "base64")


def test_a_proof_of_another_work_item_is_caught_by_authenticity() -> None:
    assert verdicts(package(work_item="spec:" + "0" * 64))["authenticity"] == ("mismatch", "work_item_differs")


@pytest.mark.parametrize("left_out", ["_type", "predicateType"])
def test_a_statement_that_does_not_say_what_it_is_is_caught_by_integrity(left_out: str) -> None:
    statement = json.loads(base64.b64decode(json.loads(HONEST["statement.dsse.json"])["payload"]))
    del statement[left_out]
    assert verdicts({**HONEST, "statement.dsse.json": dsse.sign(canonical(statement), KEY)})["integrity"][0] == "mismatch"


def test_a_statement_with_other_names_for_its_fields_is_caught_by_integrity() -> None:
    statement = json.loads(base64.b64decode(json.loads(HONEST["statement.dsse.json"])["payload"]))
    statement["predicate_type"] = statement.pop("predicateType")
    assert verdicts({**HONEST, "statement.dsse.json": dsse.sign(canonical(statement), KEY)})["integrity"][0] == "mismatch"


@pytest.mark.parametrize(
    ("predicate", "code"),
    [
        ({"started": "9999-99-99T99:99:99.999Z"}, "times_malformed"),
        ({"finished": "2025-01-01T00:00:00.000Z"}, "times_malformed"),
        ({"task_id": "T"}, "lease_missing"),
        ({"round": 3}, "lease_missing"),
        ({"lease_sha256": "0" * 64}, "lease_missing"),
        ({"fencing_token": "1"}, "lease_missing"),
    ],
)
def test_what_a_statement_claims_without_ground_is_caught_by_authenticity(predicate: dict[str, Any], code: str) -> None:
    assert verdicts(resigned(HONEST, **predicate))["authenticity"] == ("mismatch", code)


def test_a_submission_without_a_lease_is_caught_by_authenticity() -> None:
    assert verdicts({**HONEST, "submission.json": b"{}"})["authenticity"] == ("mismatch", "lease_missing")


def test_a_strangers_field_name_is_shown_short_and_harmless() -> None:
    evil = HONEST["output.json"][:-1] + b',"\\r\\nSOUND: valid\\u001b[1m' + b"x" * 500 + b'":1}'
    detail = verdicts({**HONEST, "output.json": canonical(json.loads(evil))}).results["integrity"].detail
    assert detail.isprintable()
    assert len(detail) < 300


def test_a_file_listed_twice_is_caught_by_integrity() -> None:
    statement = read(
        RunStatement, base64.b64decode(json.loads(HONEST["statement.dsse.json"])["payload"]), max_bytes=10**6, where="s"
    ).document()
    statement["subject"].append(statement["subject"][0])
    files = {**HONEST, "statement.dsse.json": dsse.sign(canonical(statement), KEY)}
    assert verdicts(files)["integrity"] == ("mismatch", "subject_twice")


@pytest.mark.parametrize(
    ("predicate", "code"),
    [
        ({"usage": {"calls": 6, "input_tokens": 30, "output_tokens": 25, "unreported_calls": 0}}, "usage_differs"),
        ({"ceilings": {"calls": 7, "output_tokens": 49152}}, "ceilings_differ"),
    ],
)
def test_a_bill_for_more_than_was_done_is_caught_by_replay(predicate: dict[str, Any], code: str) -> None:
    assert verdicts(resigned(HONEST, **predicate))["replay"] == ("mismatch", code)


def test_a_changed_prompt_byte_in_the_engine_is_noticed_by_replay_so_replay_recomputes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = json.dumps({"task": "TASK", "agents": [agent("A", max_loops=2)]}).encode()
    files = package(spec=spec)
    assert verdicts(files)["replay"] == ("valid", "ok")
    message = orca_engine.transcript._GO_ON
    changed = message.model_copy(update={"content": message.content.replace("Go", "go")})
    monkeypatch.setattr(orca_engine.transcript, "_GO_ON", changed)
    assert verdicts(files)["replay"] == ("mismatch", "request_differs")


def test_a_request_whose_digest_is_another_is_caught_by_replay() -> None:
    edited = ENTRIES[0].model_copy(update={"request_digest": "0" * 64})
    with pytest.raises(InvalidError, match="request_differs"):
        replay(ITEM, [edited, *ENTRIES[1:]])


def test_the_journal_of_the_honest_package_is_the_entries_it_was_made_from() -> None:
    assert HONEST["journal.jsonl"] == journal_bytes(ENTRIES)
