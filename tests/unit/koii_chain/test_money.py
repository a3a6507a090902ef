"""Money, end to end: real processes, HTTP, signed transactions; a price leaves the pot and arrives at the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from solders.instruction import Instruction

from koii_chain import calls
from koii_chain.client import ChainClient
from koii_chain.clock import RoundClock
from koii_chain.devnet import tools
from koii_chain.devnet.chain import DEVNET_MINT
from koii_chain.distribution import Item, Opinion, Policy, distribute
from koii_chain.instructions import CHUNK_BYTES
from koii_chain.leader import leader_of
from koii_chain.lists import write_lists
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.state import TaskState
from koii_chain.transaction import build
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import devnet_key, public_key_of
from tests.unit.koii_chain.devnets import BOUNTY, STAKE, Person
from tests.unit.koii_chain.processes import Process, devnet

ROUND = RoundClock(starting_slot=0, round_time=100, submission_window=40, audit_window=40)
TASK_KEY, POT_KEY = devnet_key(60), devnet_key(61)
TASK = public_key_of(TASK_KEY)
PRICE = 2_500_000
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


class Network:
    """A client of a devnet process, and the people who meet there."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.client = ChainClient(JsonRpc(RpcSettings((process.address,))))
        self.requester = Person(0)
        self.nodes = [Person(number) for number in (1, 2, 3)]

    async def task(self) -> TaskState:
        return (await self.client.fresh_task(TASK)).task

    async def to(self, slot: int) -> None:
        """Wind the clock to a slot, counted from the task's start."""
        start = (await self.task()).starting_slot
        await tools.advance(self.client.rpc, start + slot - await self.client.slot())

    async def fund(self) -> None:
        """The requester creates the task and pays for an item; three nodes stake."""
        rpc, requester = self.client.rpc, self.requester
        await tools.airdrop(rpc, requester.main_key, 10**10)
        await tools.mint(rpc, requester.main_key, 50_000_000)
        create = calls.create_task(
            TASK,
            requester.main_key,
            public_key_of(POT_KEY),
            DEVNET_MINT,
            name="swarms",
            clock=ROUND,
            minimum_stake=STAKE,
            bounty_per_round=BOUNTY,
        )
        await self.client.act([create], [requester.main, TASK_KEY, POT_KEY])
        await self.client.act([calls.fund_task(await self.task(), requester.main_key, PRICE)], [requester.main])
        for node in self.nodes:
            await tools.airdrop(rpc, node.main_key, 10**10)
            await tools.mint(rpc, node.key, STAKE)
            stake = calls.stake(await self.task(), node.key, STAKE)
            await self.by(node, calls.create_staking_account(node.main_key, node.key), stake)

    async def by(self, node: Person, *instructions: Instruction) -> str:
        return await self.client.act(instructions, [node.main, node.staking])

    async def submit(self, node: Person, number: int, value: str) -> str:
        return await self.by(node, calls.submit(TASK, node.key, value, number))

    async def refused(self, instructions: Sequence[Instruction], keys: Sequence[SigningKey]) -> str:
        """Return the code of the refusal."""
        with pytest.raises(InvalidError) as caught:
            await self.client.act(instructions, keys)
        return caught.value.code


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Network]:
    with devnet(tmp_path) as process:
        network = Network(process)
        await network.fund()
        yield network
        await network.client.close()


async def test_a_work_items_price_moves_from_the_pot_to_the_worker(net: Network) -> None:
    worker, *auditors = net.nodes
    client = net.client
    pot = public_key_of(POT_KEY)
    assert (await net.task()).total_bounty_amount == PRICE

    # Round 0 was worked on; its proof goes on chain, then, a round later, the verdicts on it.
    await net.to(100)
    await net.submit(worker, 0, CID)
    for auditor in auditors:
        await net.submit(auditor, 0, "idle:no_work")
    await net.to(200)
    for auditor in auditors:
        await net.submit(auditor, 1, "idle:no_work")

    # Every node computes the same list; the leader puts it on chain.
    await net.to(240)
    state = await net.task()
    opinions = [Opinion(auditor.key, worker.key, CID, "approve") for auditor in auditors]
    listed = distribute(state, 0, [Item(worker.key, CID, PRICE)], opinions, Policy(approvals=2))
    assert listed.amounts == {worker.key: PRICE}
    leader = next(node for node in net.nodes if node.key == leader_of(state, 0))
    data = write_lists({0: {TASK: listed.amounts}})
    for place in range(0, len(data), CHUNK_BYTES):
        piece = data[place : place + CHUNK_BYTES]
        await net.by(leader, calls.upload_list(TASK, leader.key, place // CHUNK_BYTES, piece, 0))
    await net.by(leader, calls.submit_list(TASK, leader.key, 0))
    assert await client.lists(TASK, 0) == {leader.key: listed.amounts}

    # Nobody objects, so it is paid, and claimed.
    await net.to(320)
    await client.act([calls.payout(TASK, leader.key, 0)], [net.requester.main])
    state = await net.task()
    assert state.distributions_audit_record == {0: "PayoutSuccessful"}
    assert state.available_balances == {worker.key: PRICE}
    before, in_pot = await client.tokens(worker.key, DEVNET_MINT), await tokens_at(client, pot)
    await net.by(worker, calls.claim_reward(state, worker.key, beneficiary=worker.key))
    assert await client.tokens(worker.key, DEVNET_MINT) == before + PRICE
    assert await tokens_at(client, pot) == in_pot - PRICE == 3 * STAKE
    assert (await net.task()).available_balances == {}


async def tokens_at(client: ChainClient, account: str) -> int:
    """The amount in a token account that is not its owner's usual one."""
    held = await client.account(account)
    assert held is not None
    return int.from_bytes(held.data[64:72], "little")


async def test_what_must_not_happen_is_refused_with_a_code(net: Network) -> None:
    worker, other, _ = net.nodes
    stranger = Person(9)
    await tools.airdrop(net.client.rpc, stranger.main_key, 10**10)
    await net.to(100)
    submit = [calls.submit(TASK, worker.key, CID, 0)]
    keys = [worker.main, worker.staking]

    wrong_round = [calls.submit(TASK, worker.key, CID, 1)]
    assert await net.refused(wrong_round, keys) == "wrong_round"
    unstaked = [calls.submit(TASK, stranger.key, CID, 0)]
    assert await net.refused(unstaked, [stranger.main, stranger.staking]) == "not_staked"

    raw = build(submit, keys, await net.client.blockhash())
    forged = raw[:65] + stranger.staking.sign(raw[129:]).signature + raw[129:]
    with pytest.raises(InvalidError) as caught:
        await net.client.send(forged)
    assert caught.value.code == "signature"
    await net.client.send(raw)
    with pytest.raises(InvalidError) as caught:
        await net.client.send(raw)
    assert caught.value.code == "already_processed"

    overdraw = [calls.fund_task(await net.task(), net.requester.main_key, 10**12)]
    assert await net.refused(overdraw, [net.requester.main]) == "insufficient_funds"
    await net.to(140)
    late = [calls.submit(TASK, other.key, CID, 0)]
    assert await net.refused(late, [other.main, other.staking]) == "late_submission"
    assert list((await net.task()).submissions[0]) == [worker.key]


async def test_a_killed_devnet_comes_back_as_it_was(tmp_path: Path) -> None:
    with devnet(tmp_path) as process:
        net = Network(process)
        await net.fund()
        await net.to(100)
        await net.submit(net.nodes[0], 0, CID)
        raw = build(
            [calls.submit(TASK, net.nodes[1].key, CID, 0)], [net.nodes[1].main, net.nodes[1].staking], await net.client.blockhash()
        )
        await net.client.send(raw)
        before = await tools.info(net.client.rpc)
        process.kill()
        with pytest.raises(UnavailableError):
            await net.client.slot()
        await net.client.close()
    with devnet(tmp_path) as process:
        assert process.said["digest"] == before.digest
        again = Network(process)
        assert await tools.info(again.client.rpc) == before
        with pytest.raises(InvalidError, match="already_processed"):
            await again.client.send(raw)
        await again.submit(again.nodes[2], 0, CID)
        assert len((await again.task()).submissions[0]) == 3
        await again.client.close()


async def test_a_devnet_in_real_time_moves_by_itself(tmp_path: Path) -> None:
    with devnet(tmp_path, "--real-time") as process:
        client = ChainClient(JsonRpc(RpcSettings((process.address,))))
        first = await client.slot()
        while await client.slot() == first:
            pass
        assert await client.slot() > first
        await client.close()
