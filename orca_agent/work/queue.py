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

from orca_agent.store.database import Connection, pool_of
from orca_agent.store.journal import Hold, RunRecord
from orca_agent.work.lease import Announce, Close, Fail, LeasePolicy, when_due
from orca_protocol.errors import InvalidError, UnavailableError

log = logging.getLogger(__name__)

#: status of a run that ended without an output; its reason says why
FAILED = "failed"

_QUEUE = "runs"
_TASK = "orca.run"
_SWEEP_MAX = 100

_CLAIM = """
WITH claimed AS (
    UPDATE queue SET holder = %(holder)s, attempts = attempts + 1, due = now() + make_interval(secs => %(ttl)s)
     WHERE run_id = %(run)s AND due IS NOT NULL AND holder IS NULL
    RETURNING run_id, attempts
)
UPDATE runs SET epoch = epoch + 1 FROM claimed WHERE runs.id = claimed.run_id
RETURNING id, item_id, spec, started, deadline, status, finished, epoch, attempts
"""
_DUE = """
SELECT run_id, attempts, holder IS NOT NULL, status IS NOT NULL
  FROM queue JOIN runs ON runs.id = queue.run_id
 WHERE due <= now() ORDER BY due LIMIT %s FOR UPDATE OF queue SKIP LOCKED
"""
# What a holder changes is conditional on its epoch.
_BEAT = """
UPDATE queue SET due = now() + make_interval(secs => %(seconds)s)
  FROM runs WHERE runs.id = run_id AND run_id = %(run)s AND epoch = %(epoch)s AND holder IS NOT NULL RETURNING run_id
"""
_RELEASE = """
UPDATE queue SET due = now() + make_interval(secs => %(seconds)s), holder = NULL, attempts = attempts - %(uncounted)s
  FROM runs WHERE runs.id = run_id AND run_id = %(run)s AND epoch = %(epoch)s AND holder IS NOT NULL RETURNING run_id
"""
_FAIL = """
UPDATE runs SET status = %(status)s, finished = extract(epoch FROM now()), reason = %(reason)s, epoch = epoch + 1
 WHERE id = %(run)s AND status IS NULL
"""


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


@dataclass(frozen=True, slots=True)
class RunState:
    """What a bystander may know of a run."""

    run: RunRecord
    epoch: int
    attempts: int
    #: who holds it, or None
    holder: str | None
    #: why it failed, or None
    reason: str | None


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

    async def submit(self, run: RunRecord, *, key: str, digest: str) -> Stored:
        """Store ``run`` once for ``key`` and announce it. ``digest`` says whether a second submission is the same.

        Raises InvalidError ``idempotency_conflict`` if the key was used for something else.
        """
        async with self._transaction() as db:
            stored = await self._stored(db, key, digest)
            if stored is not None:
                return stored
            values = (run.id, run.item_id, run.spec, run.started, run.deadline)
            await db.execute(
                "INSERT INTO runs (id, item_id, spec, epoch, started, deadline) VALUES (%s, %s, %s, 0, %s, %s)", values
            )
            sql = """INSERT INTO queue (run_id, idempotency_key, request_digest, due)
                     VALUES (%s, %s, %s, now() + make_interval(secs => %s))
                         ON CONFLICT (idempotency_key) DO NOTHING RETURNING run_id"""
            if await (await db.execute(sql, (run.id, key, digest, self.policy.announce_again))).fetchone() is not None:
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
            row = await (await db.execute(_CLAIM, {"run": run_id, "holder": holder, "ttl": self.policy.ttl})).fetchone()
        return None if row is None else Claim(RunRecord(*row[:7]), Hold(run_id, row[7]), row[8])

    async def beat(self, claim: Claim) -> bool:
        """Extend the lease; False if the run is no longer this worker's."""
        async with self._transaction() as db:
            return await _changed(db, _BEAT, claim, seconds=self.policy.ttl)

    async def done(self, claim: Claim) -> None:
        """Say that the run has ended."""
        async with self._transaction() as db:
            await _changed(db, _RELEASE, claim, seconds=None)

    async def wait(self, claim: Claim, seconds: float) -> None:
        """Let go of the run; it is announced after ``seconds``."""
        async with self._transaction() as db:
            await _changed(db, _RELEASE, claim, seconds=seconds)

    async def give_back(self, claim: Claim) -> None:
        """Let go of the run because this worker stops: the run is announced at once and the attempt does not count."""
        async with self._transaction() as db:
            if await _changed(db, _RELEASE, claim, seconds=self.policy.announce_again, uncounted=1):
                await self._announce(db, claim.run.id)

    async def fail(self, claim: Claim, reason: str) -> None:
        """End the run without an output."""
        async with self._transaction() as db:
            if await _changed(db, _RELEASE, claim, seconds=None):
                await db.execute(_FAIL, {"run": claim.run.id, "reason": reason, "status": FAILED})

    async def state(self, run_id: str) -> RunState:
        """Return how the run stands. Raises InvalidError ``run_unknown``."""
        sql = """SELECT id, item_id, spec, started, deadline, status, finished, epoch, coalesce(attempts, 0), holder, reason
                   FROM runs LEFT JOIN queue ON queue.run_id = runs.id WHERE id = %s"""
        async with self._transaction() as db:
            row = await (await db.execute(sql, (run_id,))).fetchone()
        if row is None:
            raise InvalidError("run_unknown", f"there is no run {run_id}")
        return RunState(RunRecord(*row[:7]), *row[7:])

    async def sweep(self) -> int:
        """See to every run whose time has come and to jobs whose worker died; return how many runs that were."""
        await self._forget_stalled_jobs()
        async with self._transaction() as db:
            due = await (await db.execute(_DUE, (_SWEEP_MAX,))).fetchall()
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
                await db.execute(_FAIL, {"run": run_id, "reason": reason, "status": FAILED})
            case Close():
                pass

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


async def _changed(db: Connection, statement: LiteralString, claim: Claim, *, seconds: float | None, uncounted: int = 0) -> bool:
    """Change a claimed run, due in ``seconds`` or never; False if it is not this holder's any more."""
    values = {"run": claim.run.id, "epoch": claim.hold.epoch, "seconds": seconds, "uncounted": uncounted}
    return await (await db.execute(statement, values)).fetchone() is not None


def _unavailable(error: Exception) -> UnavailableError:
    said = " ".join(str(error.__cause__ or error).split())
    return UnavailableError("queue_unavailable", f"the queue's database could not be used: {said}")
