"""From a finished run to its proof: what is in the block store, what the statement says, and that an audit agrees."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from orca_agent.models.registry import Registry
from orca_agent.observe.secrets import Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.work.proving import facts_of, prove
from orca_agent.work.runner import Finished, Runner
from orca_engine.item import Item
from orca_protocol.keys import public_key_of
from proof_store.base import MemoryBlocks
from proof_store.builder import root_of
from proof_store.reader import read_directory
from tests.fakes.scripted_model import ScriptedModel
from tests.unit.audit.packages import verdicts

KEY = SigningKey(bytes(range(32)))
AGENTS = [{"agent_name": name, "model_name": "scripted", "system_prompt": f"AGENT:{name}", "max_tokens": 10} for name in ("A", "B")]
SPEC = json.dumps({"task": "TASK", "agents": AGENTS, "max_loops": 2}).encode()


def finished_run(folder: Path, *, latency: float = 0.0, timeout: float | None = None) -> Finished:
    async def run() -> Finished:
        model = ScriptedModel()
        model.latency["B"] = latency
        journal = SqliteJournal(folder / "journal.db")
        runner = Runner(journal, Registry([model], {}), Secrets())
        try:
            return await runner.run(Item.local(SPEC), SPEC, timeout=timeout)
        finally:
            await journal.close()

    return asyncio.run(run())


def predicate_of(files: dict[str, bytes]) -> dict[str, Any]:
    statement = json.loads(base64.b64decode(json.loads(files["statement.dsse.json"])["payload"]))
    return dict(statement["predicate"])


def test_the_proof_is_in_the_block_store_under_its_cid(tmp_path: Path) -> None:
    blocks = MemoryBlocks()
    cid, files = prove(finished_run(tmp_path), KEY, blocks, network="none")
    assert set(files) == {"spec.json", "journal.jsonl", "output.json", "statement.dsse.json"}
    assert read_directory(cid, blocks) == files
    assert root_of(files) == cid


def test_the_spec_is_kept_byte_for_byte(tmp_path: Path) -> None:
    _, files = prove(finished_run(tmp_path), KEY, MemoryBlocks(), network="none")
    assert files["spec.json"] == SPEC


def test_an_audit_finds_nothing_wrong_and_the_hosted_answers_unmeasured(tmp_path: Path) -> None:
    _, files = prove(finished_run(tmp_path), KEY, MemoryBlocks(), network="none")
    found = verdicts(files, signer=public_key_of(KEY))
    assert found.mismatches == []
    assert [found[check][0] for check in ("integrity", "authenticity", "replay")] == ["valid"] * 3
    assert found["inference"] == ("not_measured", "closed_model")


def test_the_same_run_gives_the_same_proof(tmp_path: Path) -> None:
    finished = finished_run(tmp_path)
    assert prove(finished, KEY, MemoryBlocks(), network="none") == prove(finished, KEY, MemoryBlocks(), network="none")


def test_the_statement_names_node_network_run_totals_and_ceilings(tmp_path: Path) -> None:
    finished = finished_run(tmp_path)
    predicate = predicate_of(prove(finished, KEY, MemoryBlocks(), network="devnet-1")[1])
    assert predicate["node"] == public_key_of(KEY)
    assert predicate["network"] == "devnet-1"
    assert predicate["run_id"] == finished.run.id
    assert predicate["work_item"] == Item.local(SPEC).id
    assert predicate["usage"]["calls"] == 4
    assert predicate["ceilings"] == {"calls": 4, "output_tokens": 40}
    assert predicate["started"] <= predicate["finished"]
    assert {"cost", "round", "task_id", "lease_sha256"} & set(predicate) == set()


def test_a_run_that_its_deadline_ended_is_proven_with_that_deadline(tmp_path: Path) -> None:
    finished = finished_run(tmp_path, latency=30.0, timeout=0.2)
    assert finished.output.stopped == "deadline"
    _, files = prove(finished, KEY, MemoryBlocks(), network="none")
    assert predicate_of(files)["ceilings"]["seconds"] == "0.200"
    assert verdicts(files, signer=public_key_of(KEY)).mismatches == []


@pytest.mark.parametrize("timeout", [0.001, 0.0015, 86400.0 * 365, 1e9])
def test_a_deadline_of_any_length_can_be_stated(tmp_path: Path, timeout: float) -> None:
    facts = facts_of(finished_run(tmp_path, timeout=timeout), network="none")
    assert facts.ceilings.seconds is not None
    assert float(facts.ceilings.seconds) == pytest.approx(timeout, abs=0.001)
