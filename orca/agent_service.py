"""The agent as a service: queue, journal, events, worker and HTTP over one database. ``orca agent`` is the smallest such service.

A larger composition root opens the same parts, adds what is its own and serves it together::

    async with open_agent(settings, node, url) as parts, working(parts):
        app = create_app(parts.services, [rounds.routes(...)])
        await serve(app, "127.0.0.1", 8080, ready, stopping=parts.services.stopping)

The order of the end is the order of the blocks: no more requests, runs handed back, connections closed, and then, where it is
ours, the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from orca.limiting import open_limits
from orca_agent.api import proofs
from orca_agent.api.access import Gate
from orca_agent.api.failures import Failures
from orca_agent.api.kept import KeptAnswers
from orca_agent.api.rates import Rates
from orca_agent.api.services import ApiSettings, ProofRef, Prover, Services
from orca_agent.app import create_app
from orca_agent.observe.about import about
from orca_agent.store.events import EventLog
from orca_agent.store.journal import RunRecord
from orca_agent.store.keys import KeyStore
from orca_agent.store.postgres import PostgresJournal
from orca_agent.work.events import OnEvent
from orca_agent.work.intake import Intake
from orca_agent.work.lease import LeasePolicy
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_agent.work.watching import Watchers
from orca_agent.work.worker import Worker
from orca_http.serving import listen, serve, serve_on, stop_on_signals
from orca_protocol.keys import public_key_of

if TYPE_CHECKING:
    from orca.node import LocalNode
    from orca.settings import Settings
    from orca_agent.work.pinning import Pinning

__all__ = ["AgentParts", "NodeProver", "create_app", "looping", "open_agent", "run_agent", "serve", "stop_on_signals", "working"]

log = logging.getLogger(__name__)

_DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class AgentParts:
    """Everything of one agent, open."""

    queue: RunQueue
    journal: PostgresJournal
    events: EventLog
    intake: Intake
    worker: Worker
    services: Services


class NodeProver:
    """Proves runs with the node's key and keeps the proofs in its block store."""

    def __init__(self, node: LocalNode, pinning: Pinning | None = None, watchers: Watchers | None = None) -> None:
        self._node = node
        self._watchers = watchers or Watchers()
        self._pinning = pinning
        self._one_at_a_time = asyncio.Lock()

    async def prove(self, finished: Finished) -> ProofRef:
        """Build, sign and keep the proof, here and in the other stores; the same run gives the same proof."""
        async with self._one_at_a_time:
            started = time.time()
            made = await asyncio.to_thread(self._prove, finished)
            self._watchers.proved(finished, made.cid, started)
        with about(run_id=finished.run.id, work_item=finished.item.id, cid=made.cid):
            log.info("run %s is proved by %s", finished.run.id, made.cid)
        if self._pinning is not None:
            await self._pinning.want(made.cid)
        return made

    def _prove(self, finished: Finished) -> ProofRef:
        from orca_agent.work.proving import prove

        key, is_new = self._node.signing_key()
        if is_new:
            log.info("made a key for this node: %s", self._node.settings.key_path)
        cid, _ = prove(finished, key, self._node.blocks, network=self._node.settings.network)
        return ProofRef(str(cid), public_key_of(key))


@asynccontextmanager
async def open_agent(
    settings: Settings,
    node: LocalNode,
    database_url: str,
    *,
    policy: LeasePolicy | None = None,
    workers: int = 4,
    api: ApiSettings | None = None,
    prover: Prover | None = None,
    stopping: asyncio.Event | None = None,
    watchers: Watchers | None = None,
) -> AsyncIterator[AgentParts]:
    """Yield the parts of an agent over the migrated database at ``database_url``; nothing runs yet (``working``, ``serve``).

    ``workers`` bounds the runs at once. Without ``api`` the service is for loopback, with the settings' key; without
    ``prover`` the node proves its own runs as runs that nobody leased; ``watchers`` count and trace them. Raises UnavailableError
    if the database does not answer.
    """
    async with AsyncExitStack() as opened:
        journal = PostgresJournal(database_url)
        opened.push_async_callback(journal.close)
        queue = await opened.enter_async_context(RunQueue(database_url, policy))
        events = await opened.enter_async_context(EventLog(database_url))
        intake = Intake(
            queue,
            node.secrets,
            at_most=settings.queue_max,
            prices=node.registry.known_prices,
            refuse=lambda item: node.runs.reach_for(item.id).refuse_others(item.spec),
        )
        options = RunOptions(follow=True, in_flight=settings.max_in_flight)

        seen = replace(watchers or Watchers(), cost_of=node.registry.cost)

        def runner_for(run: RunRecord, on_event: OnEvent) -> Runner:
            reach = node.runs.reach_for(run.item_id)
            watching = seen.watch(run.item_id, on_event)
            return Runner(
                journal,
                node.registry,
                node.secrets,
                reach=reach,
                options=options,
                on_event=watching,
                on_finished=watching.ended,
            )

        days = settings.events_days * _DAY
        worker = Worker(queue, events, runner_for, concurrency=workers, keep_events=days, on_failed=seen.failed)
        api = replace(api or ApiSettings(api_key=settings.api_key), budget=node.runs.budget)
        keys = await opened.enter_async_context(KeyStore(database_url))
        rates = Rates(await opened.enter_async_context(open_limits(settings.limits_url, database_url)))
        services = Services(
            settings=api,
            queue=queue,
            journal=journal,
            events=events,
            intake=intake,
            registry=node.registry,
            keys=keys,
            gate=Gate(api.api_key, keys, rates, Failures(api.failures)),
            answers=KeptAnswers(settings.cache_max_bytes, settings.cache_seconds),
            version=metadata.version("orca-node"),
            prover=prover or NodeProver(node, watchers=seen),
            stopping=stopping or asyncio.Event(),
        )
        yield AgentParts(queue, journal, events, intake, worker, services)


@asynccontextmanager
async def looping(loop: Coroutine[Any, Any, None], name: str, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run a loop for the length of the block. One that ends by itself is a mistake of ours: it stops the service."""
    task = asyncio.create_task(loop, name=name)
    task.add_done_callback(lambda _: stopping.set())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def working(parts: AgentParts, *, grace: float = 0.0) -> AsyncIterator[None]:
    """Work on what is queued for the length of the block; runs under way then get ``grace`` seconds before they are handed back.

    A worker that ends by itself, which only a mistake of ours makes it do, stops the service.
    """
    serving = asyncio.create_task(parts.worker.serve(grace=grace), name="worker")
    serving.add_done_callback(lambda _: parts.services.stopping.set())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()


async def run_agent(
    settings: Settings, *, host: str, port: int, workers: int, ready: Callable[[str], None], policy: LeasePolicy | None = None
) -> None:
    """Serve the agent's HTTP API on ``host`` until SIGTERM or SIGINT, over the operator's database or an embedded one.

    ``ready`` is called with the address once it listens. Raises InvalidError ``api_key_missing`` and what ``serve``,
    ``open_database`` and ``LocalNode`` raise.
    """
    from orca.network_settings import load
    from orca.node import LocalNode
    from orca.observe_settings import ObserveSettings
    from orca.observing import observing
    from orca.postgres import open_database
    from orca.store_settings import StoreSettings
    from orca.stores import open_pinning
    from orca_agent.api import metrics as metrics_api
    from orca_agent.observe.metrics import Metrics, watch_loop

    kept, api, stopping = load(StoreSettings), ApiSettings(host=host, api_key=settings.api_key), asyncio.Event()
    metrics = Metrics()
    with (
        stop_on_signals(stopping),
        closing(listen(host, port)) as listening,
        observing(load(ObserveSettings), metrics) as watchers,
    ):
        async with (
            LocalNode(settings, kept) as node,
            open_database(settings.database_url, settings.home / "postgres") as url,
            open_pinning(kept, node.blocks, url, None) as pinning,
            open_agent(
                settings,
                node,
                url,
                policy=policy,
                workers=workers,
                api=api,
                prover=NodeProver(node, pinning, watchers),
                stopping=stopping,
                watchers=watchers,
            ) as parts,
            looping(watch_loop(metrics), "event loop's lag", stopping),
        ):
            if settings.database_url is None:
                await parts.queue.release_all()  # the server is this process's alone: whoever held runs is dead
            gate = parts.services.gate
            shown = metrics_api.routes(metrics, parts.queue, gate, pinning.waiting)
            app = create_app(parts.services, [proofs.routes(pinning, gate), shown], metrics.request_answered)
            async with working(parts), looping(pinning.serve(), "pinning", stopping):
                await serve_on(listening, app, ready, stopping=stopping)
