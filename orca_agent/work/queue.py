"""The queue of runs in PostgreSQL: stored once, announced, held under a lease, given back or ended.

The tables ``runs`` and ``queue`` are the truth. procrastinate only announces: its jobs wake an idle worker within
milliseconds and spread runs over processes, but a job that is lost, doubled or late changes nothing, because a worker must
still *claim* the run. A claim raises the run's epoch, so the journal refuses whoever held it before; a lease says when a
holder that is not heard of has lost it. Every worker sweeps: no lease expires unseen as long as one of them lives.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import LiteralString, Self

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from psycopg.rows import TupleRow

from orca_agent.store.database import Connection, pool_of
from orca_agent.store.events import cancel_topic, close_events, note
from orca_agent.store.journal import Hold, RunRecord
from orca_agent.store.wakes import notify
from orca_agent.work import statements
from orca_agent.work.lease import Announce, Close, Fail, LeasePolicy, when_due
from orca_agent.work.states import FAILED, Depth, RunState, list_states, read_depth, read_oldest, read_state
from orca_protocol.errors import InvalidError, LimitError, UnavailableError

log = logging.getLogger(__name__)

_QUEUE = "runs"
_TASK = "orca.run"
_SWEEP_MAX = 100


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a submission went; not new if the same key was used for it before."""

    run_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is this worker's until its lease expires."""

    run: RunRecord
    hold: Hold
    #: how many workers took this run, this one included
    attempts: int
    #: somebody wants it ended: it is claimed so that every open path gets its stop and the run its output
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How a lease that was extended stands."""

    #: somebody wants the run ended
    is_cancelled: bool


class RunQueue:
    """The queue in the database at ``url``, for one event loop. Errors: UnavailableError ``queue_unavailable``."""

    def __init__(self, url: str, policy: LeasePolicy | None = None) -> None:
        self.policy = policy or LeasePolicy()
        self._pool = pool_of(url, "orca-queue", size=6)
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        self._job = self._app.task(name=_TASK, queue=_QUEUE)(self._woken)
        self._on_wake: Callable[[str], Awaitable[None]] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._pool.open(wait=True, timeout=self._pool.timeout)
        except psycopg.Error as error:
            await self._pool.close()
            raise _unavailable(error) from error
        await self._app.open_async(self._pool)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._app.close_async()
        await self._pool.close()

    async def submit(self, run: RunRecord, *, key: str, digest: str, at_most: int | None = None) -> Stored:
        """Store ``run`` once for ``key`` and announce it. ``digest`` says whether a second submission is the same.

        Raises InvalidError ``idempotency_conflict`` if the key was used for something else, LimitError ``queue_full`` if
        ``at_most`` runs have not ended.
        """
        async with self._transaction() as db:
            stored = await self._stored(db, key, digest)
            if stored is not None:
                return stored
            if at_most is not None and (await read_depth(db)).unfinished >= at_most:
                raise LimitError("queue_full", f"{at_most} runs have not ended; wait until some have, or cancel some")
            values = (run.id, run.item_id, run.spec, run.started, run.deadline)
            await db.execute(
                "INSERT INTO runs (id, item_id, spec, epoch, started, deadline) VALUES (%s, %s, %s, 0, %s, %s)", values
            )
            sql = """INSERT INTO queue (run_id, idempotency_key, request_digest, due)
                     VALUES (%s, %s, %s, now() + make_interval(secs => %s))
                         ON CONFLICT (idempotency_key) DO NOTHING RETURNING run_id"""
            if await (await db.execute(sql, (run.id, key, digest, self.policy.announce_again))).fetchone() is not None:
                await note(db, run.id, "queued", {})
                await self._announce(db, run.id)
                return Stored(run.id, is_new=True)
            # somebody stored the same key meanwhile: theirs is the run
            await db.execute("DELETE FROM runs WHERE id = %s", (run.id,))
            stored = await self._stored(db, key, digest)
            if stored is None:
                raise RuntimeError("a key that conflicts is there")
            return stored

    async def claim(self, run_id: str, holder: str) -> Claim | None:
        """Take the run, raising its epoch, unless somebody holds it or it has ended."""
        async with self._transaction() as db:
            row = await (await db.execute(statements.CLAIM, {"run": run_id, "holder": holder, "ttl": self.policy.ttl})).fetchone()
        return None if row is None else Claim(RunRecord(*row[:7]), Hold(run_id, row[7]), *row[8:])

    async def beat(self, claim: Claim) -> Standing | None:
        """Extend the lease; None if the run is no longer this worker's."""
        async with self._transaction() as db:
            row = await _changed(db, statements.BEAT, claim, seconds=self.policy.ttl)
        return None if row is None else Standing(*row)

    async def done(self, claim: Claim) -> None:
        """Say that the run has ended."""
        async with self._transaction() as db:
            if await _changed(db, statements.RELEASE, claim, seconds=None):
                await close_events(db, claim.run.id)

    async def wait(self, claim: Claim, seconds: float) -> None:
        """Let go of the run; it is announced after ``seconds``, or now if somebody wants it ended."""
        async with self._transaction() as db:
            row = await _changed(db, statements.RELEASE, claim, seconds=seconds)
            if row is not None and Standing(*row).is_cancelled:
                await self._announce(db, claim.run.id)

    async def give_back(self, claim: Claim) -> None:
        """Let go of the run because this worker stops: the run is announced at once and the attempt does not count."""
        async with self._transaction() as db:
            if await _changed(db, statements.RELEASE, claim, seconds=self.policy.announce_again, uncounted=1):
                await self._announce(db, claim.run.id)

    async def fail(self, claim: Claim, reason: str) -> None:
        """End the run without an output."""
        async with self._transaction() as db:
            if await _changed(db, statements.RELEASE, claim, seconds=None):
                await _fail(db, claim.run.id, reason)

    async def cancel(self, run_id: str) -> None:
        """Want the run ended. Its holder, or else whoever takes it next, stops it; what was answered is kept.

        The wish is durable: no crash forgets it. Raises InvalidError ``run_unknown``, ``run_ended``.
        """
        async with self._transaction() as db:
            row = await (await db.execute(statements.CANCEL, (run_id,))).fetchone()
            if row is not None:
                await note(db, run_id, "cancel_requested", {})
                await notify(db, cancel_topic(run_id))
                if row[0] is None:
                    await self._announce(db, run_id)
                return
            state = await read_state(db, run_id)
        if state.run.status is not None:
            raise InvalidError("run_ended", f"run {run_id} has ended already ({state.run.status}); there is nothing to cancel")

    async def state(self, run_id: str) -> RunState:
        """Return how the run stands. Raises InvalidError ``run_unknown``."""
        async with self._transaction() as db:
            return await read_state(db, run_id)

    async def states(self, *, status: str | None, after: int, limit: int) -> list[RunState]:
        """Return runs in the order in which they came, from place ``after`` on; of ``status`` only.

        ``status`` is one of ``states.STATUSES``. The specs are left out.
        """
        async with self._transaction() as db:
            return await list_states(db, status=status, after=after, limit=limit)

    async def depth(self) -> Depth:
        """Return how many runs wait and how many are held."""
        async with self._transaction() as db:
            return await read_depth(db)

    async def oldest_seconds(self) -> float:
        """Return for how long the oldest queued run waits."""
        async with self._transaction() as db:
            return await read_oldest(db)

    async def release_all(self) -> None:
        """Let every held run be taken at once. Only for who knows that no other worker lives, because the database was down."""
        async with self._transaction() as db:
            await db.execute("UPDATE queue SET due = now() WHERE holder IS NOT NULL")

    async def sweep(self) -> int:
        """See to every run whose time has come and to jobs whose worker died; return how many runs that were."""
        await self._forget_stalled_jobs()
        async with self._transaction() as db:
            due = await (await db.execute(statements.DUE, (_SWEEP_MAX,))).fetchall()
            for run_id, attempts, is_held, has_ended in due:
                decision = when_due(self.policy, attempts, is_held=is_held, has_ended=has_ended)
                log.info("run %s, held %s, attempt %s: %s", run_id, is_held, attempts, decision)
                await self._carry_out(db, run_id, decision)
        return len(due)

    async def listen(self, on_wake: Callable[[str], Awaitable[None]], *, concurrency: int, name: str, grace: float = 5.0) -> None:
        """Call ``on_wake`` with the id of each announced run, at most ``concurrency`` at once, until cancelled.

        When cancelled, calls under way get ``grace`` seconds before they are cancelled in turn.
        """
        self._on_wake = on_wake
        try:
            await self._app.run_worker_async(
                queues=[_QUEUE],
                name=name,
                concurrency=concurrency,
                install_signal_handlers=False,
                delete_jobs="always",
                fetch_job_polling_interval=self.policy.sweep,
                update_heartbeat_interval=self.policy.beat,
                stalled_worker_timeout=self.policy.ttl,
                shutdown_graceful_timeout=grace,
            )
        except (psycopg.Error, ConnectorException) as error:
            raise _unavailable(error) from error

    async def _woken(self, run_id: str) -> None:
        if self._on_wake is None:
            raise RuntimeError("a job came to a process that does not listen")
        await self._on_wake(run_id)

    async def _announce(self, db: Connection, run_id: str) -> None:
        """Defer the job that wakes a worker, in the transaction that made the run ready."""
        await self._job.configure(connection=db).defer_async(run_id=run_id)

    async def _carry_out(self, db: Connection, run_id: str, decision: Announce | Fail | Close) -> None:
        later = self.policy.announce_again if isinstance(decision, Announce) else None
        sql = "UPDATE queue SET holder = NULL, due = now() + make_interval(secs => %s) WHERE run_id = %s"
        await db.execute(sql, (later, run_id))  # without an interval there is no due time either
        match decision:
            case Announce():
                await self._announce(db, run_id)
            case Fail(reason):
                await _fail(db, run_id, reason)
            case Close():
                await close_events(db, run_id)

    async def _forget_stalled_jobs(self) -> None:
        """Delete the jobs of workers that died. Their runs are seen to by their leases."""
        try:
            for job in await self._app.job_manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=self.policy.ttl):
                if job.id is not None:
                    await self._app.job_manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)
        except ConnectorException as error:
            if isinstance(error.__cause__, psycopg.errors.RaiseException):
                log.info("another worker was first to see to a stalled job: %s", error.__cause__)
                return
            raise _unavailable(error) from error

    async def _stored(self, db: Connection, key: str, digest: str) -> Stored | None:
        row = await (await db.execute("SELECT run_id, request_digest FROM queue WHERE idempotency_key = %s", (key,))).fetchone()
        if row is None:
            return None
        if row[1] != digest:
            raise InvalidError("idempotency_conflict", f"the idempotency key {key!r} was used for another request")
        return Stored(row[0], is_new=False)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as db:
                yield db
        except psycopg.OperationalError as error:
            await self._pool.check()
            raise _unavailable(error) from error
        except (psycopg.Error, ConnectorException) as error:
            raise _unavailable(error) from error


async def _changed(
    db: Connection, statement: LiteralString, claim: Claim, *, seconds: float | None, uncounted: int = 0
) -> TupleRow | None:
    """Change a claimed run, due in ``seconds`` or never; None if it is not this holder's any more."""
    values = {"run": claim.run.id, "epoch": claim.hold.epoch, "seconds": seconds, "uncounted": uncounted}
    return await (await db.execute(statement, values)).fetchone()


async def _fail(db: Connection, run_id: str, reason: str) -> None:
    """End a run without an output, and tell so."""
    await db.execute(statements.FAIL, {"run": run_id, "reason": reason, "status": FAILED})
    await close_events(db, run_id)


def _unavailable(error: Exception) -> UnavailableError:
    said = " ".join(str(error.__cause__ or error).split())
    return UnavailableError("queue_unavailable", f"the queue's database could not be used: {said}")
