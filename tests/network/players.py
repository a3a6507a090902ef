"""Members whose process is the test itself: staked, signing with keys of their own, and doing whatever the test wants."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from orca.devnet import genesis
from orca.devnet.layout import NETWORK, TASK_ID, Member
from orca_agent.rounds.acting import Acting
from orca_agent.rounds.middle import MiddleClient, Todo
from orca_agent.rounds.settings import Identity
from orca_agent.store.journal import RunRecord
from orca_agent.work.proving import facts_of
from orca_agent.work.runner import Finished
from orca_engine.item import Item
from orca_engine.machine import Call
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry
from orca_protocol.lease import Lease, open_lease
from orca_protocol.model import Answer, ModelIdentity, Usage
from orca_protocol.output import Output
from orca_protocol.round_value import RoundValue, write_round_value
from orca_protocol.spec import read_spec
from orca_protocol.verdict_bundle import SignedVerdict, write_bundle
from proof_store.base import BlockStore
from proof_store.builder import build_directory
from submission.package import LeasedTo, build_package
from tests.network.harness import Network
from tests.unit.orca_engine.worlds import World

Forge = Callable[[Finished], Finished]


def honestly(finished: Finished) -> Finished:
    """Change nothing."""
    return finished


class Player:
    """One member, played by the test; what it publishes is served from the test's process."""

    def __init__(self, network: Network, member: Member, gateway: str, blocks: BlockStore) -> None:
        self.member = member
        self._gateway = gateway
        self._blocks = blocks
        self._network = network
        identity = Identity(member.staking, member.account)
        self.middle = MiddleClient(network.devnet.middle_url, TASK_ID, identity)
        self._chain = ChainClient(JsonRpc(RpcSettings((network.devnet.endpoint,))), stale_seconds=0.1)
        self.acting = Acting(self._chain, TASK_ID, member.staking, member.main)
        self._proofs: dict[int, list[str]] = {}

    @property
    def key(self) -> str:
        """Its name on chain."""
        return self.member.key

    async def take(self, spec: bytes | None = None) -> Todo:
        """Post an item and take its lease, because the nodes stand still meanwhile."""
        with self._network.stopped(self._network.living):
            while True:
                item = await self._network.post(spec)
                try:
                    todo = await self.middle.fetch_todo(uuid.uuid4().hex)
                except InvalidError as error:  # a node had asked just before it was stopped, and will ask no more
                    if error.code != "nothing_available":
                        raise
                    await self._network.cancel(item)
                else:
                    assert todo.id == item
                    return todo

    def work(self, todo: Todo, number: int, forge: Forge = honestly) -> str:
        """Run the item by the engine, forge the result, and serve the package that claims it for a round; returns its CID."""
        lease = open_lease(todo.lease.encode(), self._network.devnet.middle.said["signer"])
        finished = forge(_run(todo, lease))
        leased = LeasedTo(todo.lease.encode(), lease, number, self.member.account)
        facts = facts_of(finished, network=NETWORK)
        files = build_package(finished.run.spec, finished.entries, finished.output, facts, self.member.staking, leased)
        cid = str(build_directory(files, self._blocks).cid)
        self._proofs.setdefault(number, []).append(cid)
        return cid

    async def report(self, todo: Todo, number: int, cid: str) -> None:
        """Say where the package is, report it, and put it into the round."""
        await self.middle.announce(self._gateway)
        await self.middle.report(todo, cid)
        await self.middle.enter_round(todo, number)

    async def submit(self, number: int, verdicts: Sequence[SignedVerdict] = ()) -> None:
        """Put proofs and verdicts on chain for a round."""
        await self.middle.announce(self._gateway)
        folder = str(build_directory(write_bundle(verdicts), self._blocks).cid) if verdicts else None
        await self.acting.submit(number, write_round_value(RoundValue(tuple(self._proofs.get(number, ())), folder)))

    async def earned(self) -> int:
        """What it was paid."""
        credited = (await self._network.task()).available_balances.get(self.key, 0)
        return credited + await self._network.devnet.balance(self.member)

    async def close(self) -> None:
        """Close its connections."""
        await self.middle.close()
        await self._chain.close()


def _run(todo: Todo, lease: Lease) -> Finished:
    item = Item(todo.id, read_spec(todo.spec.encode()))
    started = time.time()
    entries, output = World(item, answer=_answer).run()
    run = RunRecord(str(uuid.uuid4()), item.id, todo.spec.encode(), started, None)
    return Finished(run, item, tuple(sorted(entries, key=lambda entry: entry.path)), output, time.time())


def _answer(call: Call) -> Answer:
    identity = ModelIdentity(provider="openai", model="scripted")
    return Answer(content=f"out({call.name})", finish_reason="stop", model=identity, usage=Usage(input_tokens=1, output_tokens=1))


def with_edited_answer(finished: Finished) -> Finished:
    """Put other words into the first agent's mouth; what followed from the true ones stays as it was."""
    first, *others = finished.entries
    assert first.answer is not None
    edited = first.model_copy(update={"answer": first.answer.model_copy(update={"content": "what was never said"})})
    return _with(finished, (edited, *others), finished.output)


def copied_from(entries: tuple[Entry, ...], output: Output) -> Forge:
    """Claim somebody else's run of another item as one's own."""
    return lambda finished: _with(finished, entries, output)


def _with(finished: Finished, entries: tuple[Entry, ...], output: Output) -> Finished:
    return Finished(finished.run, finished.item, entries, output, finished.finished)


@asynccontextmanager
async def players_of(network: Network, gateway: str, blocks: BlockStore, *numbers: int) -> AsyncIterator[list[Player]]:
    """Stake members of these numbers, which no process of the devnet has, and play them."""
    players = [
        Player(network, Member(number, network.devnet.layout.data / f"player{number}"), gateway, blocks) for number in numbers
    ]
    try:
        for player in players:
            await genesis.stake(network.devnet.chain, player.member)
        yield players
    finally:
        for player in players:
            await player.close()
