"""What a proof is verified against beside itself: who put it on chain, where its blocks are, and what is said where that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audit.source import DEFAULT_LIMITS
from koii_chain.state import Submission, TaskState
from orca.grounds import Grounds, ManyBlocks, Submitted, of_devnet, of_network
from orca.network_settings import NetworkSettings
from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.base import MemoryBlocks
from proof_store.blocks import DirectoryBlocks
from proof_store.builder import build_directory
from proof_store.cid import Cid
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.reader import read_directory
from tests.unit.audit.test_leased import GOOD, Chain
from tests.unit.koii_chain.devnets import Devnet
from tests.unit.koii_chain.tasks import key, task
from tests.unit.orca.console import Console
from tests.unit.orca_agent.rounds.claims import QuietMiddle
from tests.unit.orca_agent.rounds.serving import served

FILES = {"a.txt": b"one"}
BLOCKS = MemoryBlocks()
CID = build_directory(FILES, BLOCKS).cid
ONE, TWO = key(1), key(2)


def submitted(number: int, **slots: int) -> dict[str, Submission]:
    return {key(int(name[1:])): Submission(submission_value=str(CID), slot=slot, round=number) for name, slot in slots.items()}


def grounds(state: TaskState | None = None, **changed: Any) -> Grounds:
    known: dict[str, Any] = {
        "network": "devnet",
        "task": state or task(submissions={5: submitted(5, k1=601, k2=600), 6: submitted(6, k1=701)}),
        "lease_signer": None,
        "chain": Chain(GOOD),
        "leases": None,
    }
    return Grounds(**(known | changed))


def test_who_put_a_proof_on_chain_first_claims_it() -> None:
    assert grounds().submitted(CID, None) == Submitted(TWO, 5)


def test_a_signer_is_looked_for_alone_and_in_its_first_round() -> None:
    assert grounds().submitted(CID, ONE) == Submitted(ONE, 5)


@pytest.mark.parametrize("signer", [None, key(3)])
def test_what_is_not_on_chain_could_not_be_told(signer: str | None) -> None:
    other = build_directory({"b.txt": b"two"}, MemoryBlocks()).cid
    with pytest.raises(UnavailableError, match="not_on_chain"):
        grounds().submitted(other if signer is None else CID, signer)


def test_a_folder_of_verdicts_is_no_proof() -> None:
    entry = Submission(submission_value=f"verdicts:{CID}", slot=1, round=5)
    with pytest.raises(UnavailableError, match="not_on_chain"):
        grounds(task(submissions={5: {ONE: entry}})).submitted(CID, None)


def test_what_a_proof_must_be_of_is_what_the_chain_said() -> None:
    found = grounds()
    expected = found.expected(Submitted(ONE, 5))
    assert (expected.network, expected.task_id, expected.round) == ("devnet", found.task.task_id, 5)


async def test_blocks_of_this_machine_are_not_fetched(tmp_path: Path) -> None:
    build_directory(FILES, DirectoryBlocks(tmp_path))
    middle = QuietMiddle()
    found = await grounds(folders=(tmp_path,), middle=middle).blocks(CID, ONE, MemoryBlocks(), DEFAULT_LIMITS)
    assert read_directory(CID, found) == FILES
    assert middle.asked == 0


async def test_other_blocks_come_from_their_owner_or_from_whoever_has_them() -> None:
    async with served(create_gateway(BLOCKS, GatewaySettings())) as url:
        for gateways, peers in [((), {ONE: url}), ((), {ONE: "http://127.0.0.1:9", TWO: url}), ((url,), {})]:
            middle = QuietMiddle()
            middle.gateways = [peers]
            found = await grounds(middle=middle, gateways=gateways).blocks(CID, ONE, MemoryBlocks(), DEFAULT_LIMITS)
            assert read_directory(CID, found) == FILES


async def test_blocks_that_nobody_has_could_not_be_told() -> None:
    with pytest.raises(UnavailableError, match="data_unavailable"):
        await grounds().blocks(CID, ONE, MemoryBlocks(), DEFAULT_LIMITS)


def test_many_stores_are_read_in_order_and_never_written() -> None:
    both = ManyBlocks([MemoryBlocks(), BLOCKS])
    assert both.has(CID)
    assert both.get(CID) == BLOCKS.get(CID)
    other = Cid.of(CID.codec, b"other")
    assert not both.has(other)
    with pytest.raises(UnavailableError, match="block_missing"):
        both.get(other)
    with pytest.raises(RuntimeError, match="not written"):
        both.put(CID, BLOCKS.get(CID))


async def test_a_folder_without_a_devnet_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no_devnet"):
        async with of_devnet(tmp_path / "nosuch"):
            pass
    assert not (tmp_path / "nosuch").exists()


async def test_a_chain_without_the_devnets_task_is_none_either(tmp_path: Path) -> None:
    net = Devnet(tmp_path / "chain")
    net.chain.close()
    with pytest.raises(InvalidError, match="no_devnet"):
        async with of_devnet(tmp_path):
            pass


@pytest.mark.parametrize(
    "running", [None, "nonsense", "[]", "{}", json.dumps({"chain": "http://127.0.0.1:9", "middle_server": "http://127.0.0.1:9"})]
)
async def test_a_devnet_that_does_not_run_is_read_as_it_lies_there(tmp_path: Path, running: str | None) -> None:
    net = Devnet(tmp_path / "chain").start()
    net.to(100)
    net.submit(net.nodes[0], 0, str(CID))
    net.chain.close()
    (tmp_path / "node1" / "blocks").mkdir(parents=True)
    if running is not None:
        (tmp_path / "running.json").write_text(running)
    async with of_devnet(tmp_path) as found:
        assert found.submitted(CID, None) == Submitted(net.nodes[0].key, 0)
        assert found.folders == (tmp_path / "node1" / "blocks",)
        standing = await found.chain.standing(net.nodes[0].key, net.task_id, 0)
        assert (standing.stake_fault, standing.submission_fault) == (None, None)
        with pytest.raises(UnavailableError, match="task_foreign"):
            await found.chain.standing(net.nodes[0].key, key(1), 0)


async def test_a_network_names_what_it_misses() -> None:
    with pytest.raises(InvalidError, match="ORCA_RPC_URLS, ORCA_TASK_ID"):
        async with of_network(NetworkSettings(), "koii"):
            pass


def test_verify_says_that_a_folder_holds_no_devnet(console: Console) -> None:
    ended = console("verify", str(CID), "--devnet", console.folder / "nosuch", "--json")
    assert (ended.code, ended.document["code"]) == (1, "no_devnet")
