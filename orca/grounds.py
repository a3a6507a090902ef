"""What a proof is verified against, beside itself: who put it on chain and in which round, its lease, and where its blocks are.

Three grounds: a network that the environment names, a devnet's folder (running or not), or nothing but what the caller says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.case import Expected
from audit.ports import ChainView, LeaseStanding, LeaseView, Standing
from audit.source import PackageLimits
from koii_chain.client import ChainClient
from koii_chain.devnet.chain import Chain
from koii_chain.rpc import JsonRpc, RpcSettings
from koii_chain.state import TaskState
from middle_server.store.database import Database
from middle_server.store.items import read_item
from middle_server.store.rounds import result_of
from orca.devnet.layout import MIDDLE, NETWORK, TASK_ID, Layout
from orca.network_settings import NetworkSettings, require
from orca.postgres import EmbeddedPostgres
from orca_agent.rounds.middle import MiddleReader
from orca_agent.rounds.views import ChainStanding, LeasesNow, standing_in
from orca_protocol.errors import InvalidError, UnavailableError
from orca_protocol.keys import public_key_of
from orca_protocol.round_value import proofs_in
from proof_store.base import BlockStore, missing
from proof_store.blocks import DirectoryBlocks
from proof_store.cid import Cid
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import GatewayReader
from proof_store.reader import is_whole


@dataclass(frozen=True, slots=True)
class Submitted:
    """Who put a proof on chain, and for which round."""

    worker: str
    round: int


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is known of a network."""

    network: str
    task: TaskState
    lease_signer: str | None
    chain: ChainView
    leases: LeaseView | None
    #: where its nodes keep their blocks, on this machine
    folders: tuple[Path, ...] = ()
    middle: MiddleReader | None = None
    gateways: tuple[str, ...] = ()

    def submitted(self, cid: Cid, signer: str | None) -> Submitted:
        """Return who put ``cid`` on chain first (``signer``, if one is given), and when.

        Raises UnavailableError ``not_on_chain``: the chain keeps the last rounds only.
        """
        found = [
            (entry.slot, worker, number)
            for number, by_worker in self.task.submissions.items()
            for worker, entry in by_worker.items()
            if str(cid) in proofs_in(entry.submission_value) and signer in (None, worker)
        ]
        if not found:
            raise UnavailableError("not_on_chain", f"{cid} is in none of the rounds that the chain still holds; give --signer")
        _, worker, number = min(found)
        return Submitted(worker, number)

    def expected(self, submitted: Submitted) -> Expected:
        """Return what a proof must say that it is a proof of."""
        return Expected(self.network, self.task.task_id, submitted.round)

    async def blocks(self, cid: Cid, owner: str, own: BlockStore, limits: PackageLimits) -> BlockStore:
        """Return a store that holds the tree below ``cid``: of this machine, or fetched. Raises as ``GatewayReader.fetch``."""
        here = ManyBlocks([own, *map(DirectoryBlocks, self.folders)])
        if await asyncio.to_thread(is_whole, cid, here, limits.of_tree):
            return here
        peers = {} if self.middle is None else await self.middle.peers()
        ways = [peers[owner]] if owner in peers else []
        ways += [*self.gateways, *(url for key, url in sorted(peers.items()) if key != owner)]
        reader = GatewayReader(ReaderSettings(allow_private=self.network.startswith("devnet")))
        return await reader.fetch(cid, list(dict.fromkeys(ways)), limits.of_tree)


class ManyBlocks:
    """A BlockStore that looks in several, in order, and keeps nothing."""

    def __init__(self, stores: list[BlockStore]) -> None:
        self._stores = stores

    def get(self, cid: Cid) -> bytes:
        """See BlockStore."""
        for store in self._stores:
            if store.has(cid):
                return store.get(cid)
        raise missing(cid, "any of the block stores of this machine")

    def has(self, cid: Cid) -> bool:
        """See BlockStore."""
        return any(store.has(cid) for store in self._stores)

    def put(self, cid: Cid, block: bytes) -> None:
        """Nothing is put into several places by accident."""
        raise RuntimeError("several stores are read together, not written")


@asynccontextmanager
async def of_network(given: NetworkSettings, network: str) -> AsyncIterator[Grounds]:
    """Yield the grounds that the environment names. Raises InvalidError ``settings_missing``, UnavailableError of the chain."""
    require(ORCA_RPC_URLS=given.rpc_urls, ORCA_TASK_ID=given.task_id)
    async with AsyncExitStack() as closing:
        chain = ChainClient(JsonRpc(RpcSettings(given.rpc_urls)))
        closing.push_async_callback(chain.close)
        task = (await chain.task(given.task_id or "")).task
        middle = None
        if given.middle_server_url:
            middle = MiddleReader(given.middle_server_url, task.task_id)
            closing.push_async_callback(middle.close)
        leases = None if middle is None else LeasesNow(middle)
        yield Grounds(network, task, given.lease_signer, ChainStanding(chain), leases, middle=middle, gateways=given.gateways)


@asynccontextmanager
async def of_devnet(data: Path) -> AsyncIterator[Grounds]:
    """Yield the grounds of the devnet in ``data``: asked over HTTP while it runs, read from its log and database otherwise.

    Raises InvalidError ``no_devnet``, UnavailableError where its parts cannot be read.
    """
    layout = Layout(data)
    if not layout.chain.is_dir():
        raise InvalidError("no_devnet", f"{data} holds no devnet; run one with: orca devnet --data {data}")
    folders = tuple(home / "blocks" for home in layout.all_homes())
    running = _running(data)
    signer = public_key_of(MIDDLE)
    async with AsyncExitStack() as closing:
        if running is not None:
            client = ChainClient(JsonRpc(RpcSettings((running["chain"],))))
            closing.push_async_callback(client.close)
            middle = MiddleReader(running["middle_server"], TASK_ID)
            closing.push_async_callback(middle.close)
            try:
                task = (await client.task(TASK_ID)).task
            except UnavailableError:
                pass  # it was killed and could not take its word back: its chain is read as it lies there
            else:
                yield Grounds(NETWORK, task, signer, ChainStanding(client), LeasesNow(middle), folders, middle)
                return
        task = await asyncio.to_thread(_task_in, layout.chain)
        yield Grounds(NETWORK, task, signer, _StoredChain(task), _StoredLeases(layout.postgres), folders)


def _running(data: Path) -> dict[str, str] | None:
    """Return where the devnet listens, or None when it does not run."""
    try:
        document: Any = json.loads((data / "running.json").read_text())
        return {name: str(document[name]) for name in ("chain", "middle_server")}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _task_in(folder: Path) -> TaskState:
    chain = Chain(folder)
    try:
        task = chain.world.tasks.get(TASK_ID)
    finally:
        chain.close()
    if task is None:
        raise InvalidError("no_devnet", f"the chain in {folder} has no devnet task")
    return task


class _StoredChain:
    """``ChainView`` over a chain that stands still."""

    def __init__(self, task: TaskState) -> None:
        self._task = task

    async def standing(self, key: str, task_id: str, round_number: int) -> Standing:
        return standing_in(self._task, key, task_id, round_number)


class _StoredLeases:
    """``LeaseView`` over the database of a middle server that does not run; the database is started for the question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def lease_now(self, work_item: str) -> LeaseStanding:
        server = EmbeddedPostgres(self._folder)
        await asyncio.to_thread(server.start)
        try:
            database = Database(await asyncio.to_thread(server.database, "orca_middle"), pool_size=1, seconds=10.0)
            await database.open()
            try:
                async with database.transaction() as connection:
                    item = await read_item(connection, work_item)
                    result = None if item.lease_id is None else await result_of(connection, item.lease_id)
            except InvalidError as error:
                raise UnavailableError(error.code, f"this devnet's middle server could not tell: {error.detail}") from error
            finally:
                await database.close()
        finally:
            await asyncio.to_thread(server.stop)
        cid, number = (None, None) if result is None else (result.cid, result.round)
        return LeaseStanding(str(item.fencing_token), cid, number)
