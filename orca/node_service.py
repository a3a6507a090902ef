"""A node of a network, put together: agent, gateway, work, rounds. ``orca node`` is this, alone or beside a Koii node.

Two listeners: the agent's HTTP for its owner (loopback, or with a key), and the gateway for everybody, which gives away
nothing but blocks that are public anyway.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from pydantic import SecretStr

from koii_chain.client import ChainClient
from koii_chain.rpc import JsonRpc, RpcSettings
from orca.agent_service import AgentParts, NodeProver, create_app, looping, open_agent, working
from orca.key_file import load_key
from orca.network_settings import NetworkSettings, load, require
from orca.node import LocalNode
from orca.observe_settings import ObserveSettings
from orca.observing import observing
from orca.postgres import open_database
from orca.settings import Settings
from orca.store_settings import StoreSettings
from orca.stores import open_pinning
from orca_agent.api import metrics as metrics_api
from orca_agent.api import proofs
from orca_agent.api.rounds import sidecar_routes, status_routes
from orca_agent.api.services import ApiSettings
from orca_agent.observe.metrics import Metrics, watch_loop
from orca_agent.rounds.acting import Acting
from orca_agent.rounds.auditing import Auditing, AuditParts
from orca_agent.rounds.fetching import PeerFetcher
from orca_agent.rounds.middle import MiddleClient
from orca_agent.rounds.node import NodeParts, RoundsNode
from orca_agent.rounds.paying import Paying
from orca_agent.rounds.settings import Identity, RoundsSettings
from orca_agent.rounds.sidecar import NodeFace
from orca_agent.rounds.submitting import Submitting
from orca_agent.rounds.telling import Telling
from orca_agent.rounds.views import ChainStanding, LeasesNow
from orca_agent.rounds.working import Working, WorkParts
from orca_agent.store.records import NodeRecords
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.pinning import Pinning
from orca_agent.work.watching import Watchers
from orca_http.serving import address_of, listen, serve_on, stop_on_signals
from orca_protocol.keys import public_key_of
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import GatewayReader

log = logging.getLogger(__name__)

#: the waits of a devnet, whose clock runs as fast as its rounds' work
_QUICK = {"look_every": 0.1, "ask_every": 0.3, "watch_every": 0.1, "retry_after": 0.5}
_QUICK_LEASES = LeasePolicy(ttl=6.0, beat=1.0, sweep=0.5, announce_again=5.0, wait_first=0.5)


@dataclass(frozen=True, slots=True)
class Joined:
    """A node's rooms, joined; ``loop`` only where it stands alone."""

    working: Working
    loop: RoundsNode | None
    face: NodeFace


async def run_node(
    settings: Settings,
    network: NetworkSettings,
    kept: StoreSettings,
    *,
    standalone: bool,
    host: str,
    port: int,
    workers: int,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Serve until SIGTERM or SIGINT. ``ready`` is told where it listens.

    Raises InvalidError ``settings_missing``, of the keys and the API's settings; UnavailableError of database and ports.
    """
    is_devnet = settings.network.startswith("devnet")
    require(
        ORCA_NETWORK=settings.network != "none",
        ORCA_RPC_URLS=network.rpc_urls,
        ORCA_TASK_ID=network.task_id,
        MIDDLE_SERVER_URL=network.middle_server_url,
        ORCA_LEASE_SIGNER=network.lease_signer,
        ORCA_GATEWAY_URL=network.gateway_url or is_devnet,
    )
    staking = load_key(settings.key_path, network=settings.network)
    main = load_key(network.main_key_file or settings.home / "main.json", network=settings.network)
    api, stopping, metrics = ApiSettings(host=host, api_key=settings.api_key), asyncio.Event(), Metrics()
    with (
        stop_on_signals(stopping),
        listen(host, port) as own,
        listen(network.gateway_host, network.gateway_port) as public,
        observing(load(ObserveSettings), metrics) as watchers,
    ):
        gateway = network.gateway_url or address_of(public)
        async with (
            LocalNode(settings, kept) as node,
            open_database(settings.database_url, settings.home / "postgres") as url,
            open_pinning(kept, node.blocks, url, _from_here(public), is_quick=is_devnet) as pinning,
            open_agent(
                settings,
                node,
                url,
                policy=_QUICK_LEASES if is_devnet else None,
                workers=workers,
                api=api,
                prover=NodeProver(node, pinning, watchers),
                stopping=stopping,
                watchers=watchers,
            ) as parts,
            _joined(
                settings, network, node, parts, pinning, url, staking, main, gateway, watchers, standalone=standalone
            ) as joined,
            working(parts),
            looping(watch_loop(metrics), "event loop's lag", stopping),
            looping(pinning.serve(), "pinning", stopping),
            _running(joined, stopping),
        ):
            if settings.database_url is None:
                await parts.queue.release_all()  # the server is this process's alone: whoever held runs is dead
            token, token_file = _sidecar_token(settings.home)
            gate = parts.services.gate
            routers = [
                status_routes(joined.face, gate),
                proofs.routes(pinning, gate),
                metrics_api.routes(metrics, parts.queue, gate, pinning.waiting),
                sidecar_routes(joined.face, token),
            ]
            app = create_app(parts.services, routers, metrics.request_answered)
            serving = asyncio.create_task(
                serve_on(public, create_gateway(node.blocks, GatewaySettings()), lambda _: None, stopping=stopping)
            )
            place = {"gateway": gateway, "key": public_key_of(staking), "sidecar_token_file": str(token_file)}
            try:
                await serve_on(own, app, lambda address: ready({"url": address, **place}), stopping=stopping)
            finally:
                stopping.set()
                await serving


@asynccontextmanager
async def _joined(
    settings: Settings,
    network: NetworkSettings,
    node: LocalNode,
    parts: AgentParts,
    pinning: Pinning,
    database_url: str,
    staking: SigningKey,
    main: SigningKey,
    gateway: str,
    watchers: Watchers,
    *,
    standalone: bool,
) -> AsyncIterator[Joined]:
    """Yield the node's rooms; nothing runs yet."""
    is_devnet = settings.network.startswith("devnet")
    identity = Identity(staking, public_key_of(main))
    given = RoundsSettings(
        network=settings.network,
        task_id=network.task_id or "",
        lease_signer=network.lease_signer or "",
        gateway=gateway,
        gateways=network.gateways,
        audits_per_round=network.audits_per_round,
        inference_rate=settings.inference_rate,
        limits=settings.package_limits,
        **(_QUICK if is_devnet else {}),
    )
    async with AsyncExitStack() as closing:
        chain = ChainClient(JsonRpc(RpcSettings(network.rpc_urls)), stale_seconds=0.05 if is_devnet else 20.0)
        closing.push_async_callback(chain.close)
        middle = MiddleClient(network.middle_server_url or "", given.task_id, identity)
        closing.push_async_callback(middle.close)
        records = await closing.enter_async_context(NodeRecords(database_url))

        async def current_round() -> int:
            task = (await chain.task(given.task_id)).task
            return task.clock.round_at(await chain.slot())

        fetcher = PeerFetcher(given, node.blocks, middle, GatewayReader(ReaderSettings(allow_private=is_devnet)))
        work = WorkParts(
            identity,
            middle,
            records,
            parts.queue,
            parts.intake,
            parts.journal,
            node.registry,
            node.blocks,
            current_round,
            budget=node.runs.budget,
            watchers=watchers,
        )
        doing = Working(given, work)
        auditing = Auditing(
            given,
            AuditParts(identity, middle, records, fetcher, ChainStanding(chain), LeasesNow(middle), node.redecoder(), node.blocks),
        )
        submitting = Submitting(records, node.blocks, lambda: doing.idle or "working", work.turn)
        paying = Paying(given, fetcher)
        loop = None
        if standalone:
            acting = Acting(chain, given.task_id, staking, main)
            telling = Telling(identity.key, records, parts.events)
            loop = RoundsNode(given, NodeParts(identity.key, chain, middle, records, auditing, submitting, paying, acting, telling))
        yield Joined(doing, loop, NodeFace(given, identity.key, chain, records, doing, auditing, submitting, paying, pinning, loop))


@asynccontextmanager
async def _running(joined: Joined, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Work and keep the rounds for the length of the block. A loop that ends by itself is a mistake of ours: it stops the node."""
    loops = [asyncio.create_task(joined.working.serve(), name="working")]
    if joined.loop is not None:
        loops.append(asyncio.create_task(joined.loop.serve(), name="rounds"))
    for task in loops:
        task.add_done_callback(lambda _: stopping.set())
    try:
        yield
    finally:
        for task in loops:
            task.cancel()
        for ended in await asyncio.gather(*loops, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


def _from_here(listening: socket.socket) -> str:
    """Return how a listener is reached from this machine, also where it listens on all addresses."""
    address = address_of(listening)
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _sidecar_token(home: Path) -> tuple[SecretStr, Path]:
    """Make the token of this start and leave it where only its owner reads it."""
    path, token = home / "sidecar-token", secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(token)
    return SecretStr(token), path
