"""How idle workers hear of runs: procrastinate's jobs, each the id of a run. They only announce; ``queue`` holds the truth."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from orca_agent.store.database import Connection, Pool
from orca_agent.work.lease import LeasePolicy
from orca_protocol.errors import UnavailableError

log = logging.getLogger(__name__)

_QUEUE = "runs"
_TASK = "orca.run"


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is called with the id of each announced run, at most ``concurrency`` at once, under what name."""

    on_wake: Callable[[str], Awaitable[None]]
    concurrency: int
    name: str
    #: seconds that calls under way get to end when listening ends
    grace: float = 5.0


class Announcements:
    """Announces and hears, for one event loop. Errors: UnavailableError ``queue_unavailable``."""

    def __init__(self) -> None:
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        self._job = self._app.task(name=_TASK, queue=_QUEUE)(self._woken)
        self._on_wake: Callable[[str], Awaitable[None]] | None = None

    async def open(self, pool: Pool) -> None:
        """Use the connections of ``pool``, which stays the caller's."""
        await self._app.open_async(pool)

    async def close(self) -> None:
        """Let go of the pool."""
        await self._app.close_async()

    async def announce(self, db: Connection, run_id: str) -> None:
        """Defer the job that wakes a worker, in the transaction that made the run ready."""
        await self._job.configure(connection=db).defer_async(run_id=run_id)

    async def listen(self, listener: Listener, policy: LeasePolicy) -> None:
        """Hear until cancelled."""
        self._on_wake = listener.on_wake
        try:
            await self._app.run_worker_async(
                queues=[_QUEUE],
                name=listener.name,
                concurrency=listener.concurrency,
                install_signal_handlers=False,
                delete_jobs="always",
                fetch_job_polling_interval=policy.sweep,
                update_heartbeat_interval=policy.beat,
                stalled_worker_timeout=policy.ttl,
                shutdown_graceful_timeout=listener.grace,
            )
        except (psycopg.Error, ConnectorException) as error:
            raise unavailable(error) from error

    async def forget_stalled(self, seconds: float) -> None:
        """Delete the jobs of workers that were not heard of for so long. Their runs are seen to by their leases."""
        try:
            for job in await self._app.job_manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=seconds):
                if job.id is not None:
                    await self._app.job_manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.RaiseException):
                log.info("another worker was first to see to a stalled job: %s", error.__cause__)
                return
            raise unavailable(error) from error

    async def _woken(self, run_id: str) -> None:
        if self._on_wake is None:
            raise RuntimeError("a job came to a process that does not listen")
        await self._on_wake(run_id)


def unavailable(error: Exception) -> UnavailableError:
    """Return what a caller is told of a database that could not be used."""
    said = " ".join(str(error.__cause__ or error).split())
    return UnavailableError("queue_unavailable", f"the queue's database could not be used: {said}")
