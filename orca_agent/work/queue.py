"""The queue of runs in PostgreSQL: stored once, announced, held under a lease, given back or ended.

The tables ``runs`` and ``queue`` are the truth. procrastinate only announces: its jobs wake an idle worker within
milliseconds and spread runs over processes, but a job that is lost, doubled or late changes nothing, because a worker must
still *claim* the run. A claim raises the run's epoch, so the journal refuses whoever held it before; a lease says when a
holder that is not heard of has lost it. Every worker sweeps: no lease expires unseen as long as one of them lives.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import LiteralString, Self

import psycopg
from procrastinate.exceptions import ConnectorException
from psycopg.rows import TupleRow

from orca_agent.store.database import Connection, pool_of
from orca_agent.store.events import cancel_topic, close_events, end_topic, note
from orca_agent.store.journal import Hold, RunRecord
from orca_agent.store.ledger import locked_terms
from orca_agent.store.wakes import notify
from orca_agent.work import inputs, statements
from orca_agent.work.announcements import Announcements, Listener, unavailable
from orca_agent.work.inputs import Given, Question
from orca_agent.work.lease import Announce, Close, Fail, LeasePolicy, when_due
from orca_agent.work.orders import Order, place, settle_run
from orca_agent.work.states import (
    FAILED,
    Depth,
    RunState,
    list_newest,
    list_states,
    read_depth,
    read_oldest,
    read_state,
    refuse_too_many,
)
from orca_engine.machine import Call
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Path
from orca_protocol.world import Input
from orca_time.schedule import Due

log = logging.getLogger(__name__)

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
        self._announcements = Announcements()

    async def __aenter__(self) -> Self:
        try:
            await self._pool.open(wait=True, timeout=self._pool.timeout)
        except psycopg.Error as error:
            await self._pool.close()
            raise unavailable(error) from error
        await self._announcements.open(self._pool)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._announcements.close()
        await self._pool.close()

    async def stored(self, key: str, digest: str) -> Stored | None:
        """Return what was stored for ``key`` before. Raises InvalidError ``idempotency_conflict`` if that is something else."""
        async with self._transaction() as db:
            return await self._stored(db, key, digest)

    async def submit(
        self, run: RunRecord, order: Order, *, key: str, digest: str, at_most: int | None = None, due: Due | None = None
    ) -> Stored:
        """Store ``run`` once for ``key`` and announce it, at once or when it is ``due``.

        ``digest`` says whether a second submission is the same. ``order`` says what it may use, and whose API key wants it: the run
        is that key's, and within its limits. Raises InvalidError ``idempotency_conflict`` if the key was used for something else,
        LimitError ``queue_full`` if ``at_most`` runs wait or are under way, or are scheduled, and what ``place`` raises.
        """
        async with self._transaction() as db:
            if order.owner is not None:
                await locked_terms(db, order.owner)
            stored = await self._stored(db, key, digest)
            if stored is not None:
                return stored
            await refuse_too_many(db, at_most, due)
            if await place(db, run, order, key=key, digest=digest, again=self.policy.announce_again, due=due):
                if due is None:
                    await note(db, run.id, "queued", {})
                    await self._announcements.announce(db, run.id)
                else:  # whoever sweeps when its time has come announces it
                    await note(db, run.id, "scheduled", due.document())
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
        return None if row is None else Claim(RunRecord(*row[:8]), Hold(run_id, row[8]), *row[9:])

    async def beat(self, claim: Claim) -> Standing | None:
        """Extend the lease; None if the run is no longer this worker's."""
        async with self._transaction() as db:
            row = await _changed(db, statements.BEAT, claim, seconds=self.policy.ttl)
        return None if row is None else Standing(*row)

    async def done(self, claim: Claim) -> None:
        """Say that the run has ended."""
        async with self._transaction() as db:
            if await _changed(db, statements.RELEASE, claim, seconds=None):
                await _close(db, claim.run.id)

    async def wait(self, claim: Claim, seconds: float) -> None:
        """Let go of the run; it is announced after ``seconds``, or now if somebody wants it ended."""
        async with self._transaction() as db:
            row = await _changed(db, statements.RELEASE, claim, seconds=seconds)
            if row is not None and Standing(*row).is_cancelled:
                await self._announcements.announce(db, claim.run.id)

    async def give_back(self, claim: Claim) -> None:
        """Let go of the run because this worker stops: the run is announced at once and the attempt does not count."""
        async with self._transaction() as db:
            if await _changed(db, statements.RELEASE, claim, seconds=self.policy.announce_again, uncounted=1):
                await self._announcements.announce(db, claim.run.id)

    async def await_input(self, claim: Claim, calls: Sequence[Call]) -> None:
        """Let go of the run until a person has answered one of ``calls``, it is cancelled, or its time is up."""
        run_id = claim.run.id
        async with self._transaction() as db:
            row = await _changed(db, statements.AWAIT, claim, seconds=None)
            if row is None:
                return
            is_answered = await inputs.ask(db, run_id, calls)
            if is_answered or Standing(*row).is_cancelled:
                await self._wake(db, run_id)
            else:
                asked = [{"path": str(call.path), "step": call.name} for call in calls]
                await note(db, run_id, "awaiting_input", {"asked": asked})
                await notify(db, end_topic(run_id))

    async def give_input(self, run_id: str, given: Given) -> None:
        """Keep what a person said, once, and let the run go on. The same again changes nothing.

        Raises InvalidError ``run_unknown``, ``run_ended``, and as ``inputs.give`` does.
        """
        async with self._transaction() as db:
            row = await (await db.execute(statements.LOCK, (run_id,))).fetchone()
            if row is None:
                raise InvalidError("run_unknown", f"there is no run {run_id}")
            is_awaiting, status = row
            answered = await inputs.give(db, run_id, given)
            if answered is None:
                return
            if status is not None:  # the transaction is undone with it
                raise InvalidError("run_ended", f"run {run_id} has ended already ({status}); nobody is asked any more")
            await note(db, run_id, "input_given", {"path": str(answered.path), "step": answered.step})
            if is_awaiting:
                await self._wake(db, run_id)

    async def inputs(self, run_id: str) -> Mapping[Path, Input]:
        """Return what people have said in the run."""
        async with self._transaction() as db:
            return await inputs.answers(db, run_id)

    async def questions(self, run_id: str) -> list[Question]:
        """Return what people are asked in the run and have not answered."""
        async with self._transaction() as db:
            return [question for question in await inputs.questions(db, run_id) if question.said is None]

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
            row = await (await db.execute(statements.CANCEL, {"run": run_id, "again": self.policy.announce_again})).fetchone()
            if row is not None:
                await note(db, run_id, "cancel_requested", {})
                await notify(db, cancel_topic(run_id))
                if row[0] is None:
                    await self._announcements.announce(db, run_id)
                return
            state = await read_state(db, run_id)
        if state.run.status is not None:
            raise InvalidError("run_ended", f"run {run_id} has ended already ({state.run.status}); there is nothing to cancel")

    async def state(self, run_id: str) -> RunState:
        """Return how the run stands. Raises InvalidError ``run_unknown``."""
        async with self._transaction() as db:
            return await read_state(db, run_id)

    async def states(self, *, status: str | None, after: int, limit: int, owner: str | None = None) -> list[RunState]:
        """Return runs in the order in which they came, from place ``after`` on; of ``status`` and of ``owner`` only.

        ``status`` is one of ``states.STATUSES``. The specs are left out.
        """
        async with self._transaction() as db:
            return await list_states(db, status=status, after=after, limit=limit, owner=owner)

    async def newest(self, *, keys: str, before: int | None, limit: int) -> tuple[int, list[RunState]]:
        """Return how many runs have a key that begins with ``keys``, and the newest of them before a place, without their specs."""
        async with self._transaction() as db:
            return await list_newest(db, keys=keys, before=before, limit=limit)

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
        await self._announcements.forget_stalled(self.policy.ttl)
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
        await self._announcements.listen(Listener(on_wake, concurrency, name, grace), self.policy)

    async def _wake(self, db: Connection, run_id: str) -> None:
        """Let a run that waited for a person go on."""
        await db.execute(statements.WAKE, (self.policy.announce_again, run_id))
        await self._announcements.announce(db, run_id)

    async def _carry_out(self, db: Connection, run_id: str, decision: Announce | Fail | Close) -> None:
        later = self.policy.announce_again if isinstance(decision, Announce) else None
        sql = "UPDATE queue SET holder = NULL, due = now() + make_interval(secs => %s) WHERE run_id = %s"
        await db.execute(sql, (later, run_id))  # without an interval there is no due time either
        match decision:
            case Announce():
                await self._announcements.announce(db, run_id)
            case Fail(reason):
                await _fail(db, run_id, reason)
            case Close():
                await _close(db, run_id)

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
            raise unavailable(error) from error
        except (psycopg.Error, ConnectorException) as error:
            raise unavailable(error) from error


async def _changed(
    db: Connection, statement: LiteralString, claim: Claim, *, seconds: float | None, uncounted: int = 0
) -> TupleRow | None:
    """Change a claimed run, due in ``seconds`` or never; None if it is not this holder's any more."""
    values = {"run": claim.run.id, "epoch": claim.hold.epoch, "seconds": seconds, "uncounted": uncounted}
    return await (await db.execute(statement, values)).fetchone()


async def _fail(db: Connection, run_id: str, reason: str) -> None:
    """End a run without an output, and tell so."""
    await db.execute(statements.FAIL, {"run": run_id, "reason": reason, "status": FAILED})
    await _close(db, run_id)


async def _close(db: Connection, run_id: str) -> None:
    """Tell the end of a run that has ended, and settle what it had reserved."""
    await settle_run(db, run_id)
    await close_events(db, run_id)
