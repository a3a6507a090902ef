"""From a lease to a reported proof, one work item at a time; after a crash it goes on where it was.

    claim      under a claim id that is kept first: the same claim gets the same lease
    run        through the queue, so that any worker process may do it; heartbeats keep the lease meanwhile
    prove      for the chain's round of that moment; what no lease pays for is given back instead of submitted
    report     the CID to the middle server, and the round it will stand in

A lease that is lost ends the run: somebody else has the item, and a late result would be refused by its fencing token.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from orca_agent.models.registry import Registry
from orca_agent.observe.about import about
from orca_agent.rounds.middle import MiddleClient, Todo
from orca_agent.rounds.settings import Identity, RoundsSettings
from orca_agent.store.journal import Journal
from orca_agent.store.records import Assignment, NodeRecords
from orca_agent.work.finished import read_finished
from orca_agent.work.intake import Intake
from orca_agent.work.proving import prove
from orca_agent.work.queue import RunQueue
from orca_agent.work.runner import Finished
from orca_agent.work.states import FAILED
from orca_agent.work.watching import Watchers
from orca_engine import REVISION
from orca_engine.bounds import ceilings_of, freer, inputs_at_most
from orca_engine.item import Item
from orca_protocol.budget import Budget
from orca_protocol.canonical import sha256_hex
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.lease import Lease, open_lease
from orca_protocol.round_value import PROOFS_MAX, proofs_in
from orca_protocol.spec import read_spec
from proof_store.base import BlockStore
from submission.package import LeasedTo

log = logging.getLogger(__name__)
T = TypeVar("T")

#: codes by which the middle server says that a lease is not this node's any more
_LOST = frozenset({"lease_ended", "lease_expired", "lease_foreign", "lease_unknown", "fencing_token_stale", "fencing_token_wrong"})
#: heartbeats in the time after which a silent holder loses its lease
_BEATS = 3
#: the end of a run is this much before the end of its lease, so that the proof still counts
_MARGIN = timedelta(seconds=30)


@dataclass(slots=True)
class WorkParts:
    """What working is done with."""

    identity: Identity
    middle: MiddleClient
    records: NodeRecords
    queue: RunQueue
    intake: Intake
    journal: Journal
    registry: Registry
    blocks: BlockStore
    #: the round the chain is in now
    current_round: Callable[[], Awaitable[int]]
    #: an item that may use more is given back: a lease promises its spec's own budget and no less
    budget: Budget = field(default_factory=Budget)
    #: held while a proof gets its round, and while a round's submission is put together
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    watchers: Watchers = field(default_factory=Watchers)


class LeaseLostError(Exception):
    """The item is somebody else's by now; ``reason`` is the middle server's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Working:
    """Works until it is cancelled. ``doing`` and ``idle`` are for whoever asks what the node does."""

    def __init__(self, settings: RoundsSettings, parts: WorkParts) -> None:
        self._settings = settings
        self._parts = parts
        #: what it does now, or None
        self.doing: str | None = None
        #: why there is nothing to do, or None
        self.idle: str | None = "starting"
        #: the run under way
        self.run_id: str | None = None
        #: rises with every question for work that got its answer
        self.asked = 0

    async def serve(self) -> None:
        """Take item after item. A world that does not answer is asked again; what is wrong with one item ends that item."""
        while True:
            try:
                wait = await self._next()
            except OrcaError as error:
                self.idle = f"{error.code}: {error.detail}"
                wait = (error.retry_after if isinstance(error, UnavailableError) else None) or self._settings.retry_after
                log.warning("working again in %s s: %s", wait, error)
            finally:
                self.doing = None
            await asyncio.sleep(wait)

    async def _next(self) -> float:
        """Carry the oldest open assignment on, or claim one; return the seconds until the next look."""
        found = await self._parts.records.open_assignments()
        if not found and (reason := await self._why_no_claim()) is not None:
            self.idle = reason
            return self._settings.ask_every
        assignment = found[0] if found else await self._parts.records.begin_claim(secrets.token_urlsafe(24))
        if assignment.state == "claiming":
            try:
                todo = await self._parts.middle.fetch_todo(assignment.claim_id)
            except InvalidError as error:
                await self._parts.records.forget_claim(assignment.claim_id)
                self.idle = f"{error.code}: {error.detail}"
                self.asked += 1
                return self._settings.ask_every
            assignment = await self._parts.records.move(assignment, "leased", todo=todo.model_dump_json())
        try:
            await self._carry_on(assignment)
        except LeaseLostError as lost:
            await self._close(assignment, f"lease_lost: {lost.reason}")
        except InvalidError as error:
            await self._close(assignment, f"{error.code}: {error.detail}")
        return 0.0

    async def _why_no_claim(self) -> str | None:
        """Return why nothing can come of another item in this round, or None."""
        try:
            number = await self._parts.current_round()
        except InvalidError as error:
            return f"{error.code}: {error.detail}"
        if len(await self._parts.records.assignments_of(number)) < PROOFS_MAX:
            return None
        return f"round_full: round {number} has {PROOFS_MAX} proofs of this node, and its submission takes no more"

    async def _carry_on(self, assignment: Assignment) -> None:
        if assignment.todo is None:
            raise RuntimeError(f"claim {assignment.claim_id} is {assignment.state} and has no work item")
        todo = Todo.model_validate_json(assignment.todo)
        self.idle, self.doing = None, f"work item {todo.id}"
        with about(work_item=todo.id, run_id=assignment.run_id, cid=assignment.cid):
            await self._carry_on_with(assignment, todo)

    async def _carry_on_with(self, assignment: Assignment, todo: Todo) -> None:
        log.info("work item %s, lease %s, token %s: %s", todo.id, todo.leaseId, todo.fencingToken, assignment.state)
        if assignment.state == "proved" and await self._has_missed_its_round(assignment):
            assignment = await self._parts.records.move(assignment, "leased")  # what was not reported yet is proved again
        if assignment.state == "leased":
            assignment = await self._run_and_prove(assignment, todo)
        if assignment.state == "proved":
            # Auditors look for the proof where this key was heard last, which may have been before a restart.
            with suppress(InvalidError):  # a lease needs no new word on the stake; the report will say what it is worth
                await self._parts.middle.announce(self._settings.gateway)
            await self._held(self._parts.middle.report(todo, _known(assignment.cid)))
            assignment = await self._parts.records.move(assignment, "reported")
        if assignment.state == "reported":
            if await self._has_missed_its_round(assignment):
                await self._close(
                    assignment, f"round_missed: round {assignment.round} was submitted without it; others get the item"
                )
                return
            await self._held(self._parts.middle.enter_round(todo, _known(assignment.round)))
            await self._parts.records.move(assignment, "entered")

    async def _has_missed_its_round(self, assignment: Assignment) -> bool:
        """Whether this node's submission for the proof's round went on chain without it, while it waited to be reported."""
        submitted = await self._parts.records.submission_of(_known(assignment.round))
        return submitted is not None and assignment.cid not in proofs_in(submitted)

    async def _run_and_prove(self, assignment: Assignment, todo: Todo) -> Assignment:
        """Return the assignment proved, or closed with the item given back."""
        try:
            lease = open_todo(todo, self._settings, self._parts.identity)
            await self._refuse_unpayable(todo, lease, is_begun=assignment.run_id is not None)
            finished = await self._beside_heartbeats(todo, self._run(assignment, todo, lease))
            refuse_unpaid(finished, lease)
            return await self._prove(assignment, todo, lease, finished)
        except (InvalidError, LimitError) as error:
            reason = f"{error.code}: {error.detail}"
            log.warning("work item %s is given back: %s", todo.id, reason)
            await self._held(self._parts.middle.give_back(todo, reason))
            return await self._close(assignment, f"given_back: {reason}")

    async def _refuse_unpayable(self, todo: Todo, lease: Lease, *, is_begun: bool) -> None:
        """Raise InvalidError before anything is asked for an item whose answers this node cannot give, or would not be paid for.

        A model whose server does not answer is no reason to throw away what a run has paid for: its worker waits for the server,
        beside heartbeats and not for ever. An item that was not begun is given back: another node's server may answer.
        """
        try:
            await self._refuse_unanswerable(todo, lease)
        except UnavailableError as error:
            if not is_begun:
                raise InvalidError(error.code, error.detail) from error

    async def _refuse_unanswerable(self, todo: Todo, lease: Lease) -> None:
        item = Item(todo.id, read_spec(todo.spec.encode(), where="the leased spec"))
        if inputs_at_most(item.spec):
            raise InvalidError("nobody_to_ask", "rearrange_flow: a node that works for others has no person to ask at H")
        for name in item.spec.model_names:
            found = await self._parts.registry.resolve(name)
            if all(allowed.name != found.model for allowed in lease.models):
                admitted = ", ".join(allowed.name for allowed in lease.models)
                raise InvalidError("model_not_leased", f"{name} is answered by {found.model} here; the lease admits {admitted}")
        is_money_bounded = item.spec.budget is not None and item.spec.budget.cost is not None
        prices = await self._parts.registry.known_prices(item.spec.model_names) if is_money_bounded else {}
        beyond = freer(ceilings_of(item.spec, prices=prices), self._parts.budget)
        if beyond is not None:
            raise InvalidError("beyond_budget", f"the item may use more than this node's ORCA_RUN_MAX_… allow: {beyond}")

    async def _run(self, assignment: Assignment, todo: Todo, lease: Lease) -> Finished:
        spec = todo.spec.encode()
        item = Item(todo.id, read_spec(spec, where="the leased spec"))
        await _until(datetime.fromisoformat(lease.issued))
        if assignment.run_id is None:
            stored = await self._parts.intake.submit(item, spec, key=f"lease:{todo.leaseId}", deadline=deadline_of(lease))
            assignment = await self._parts.records.move(assignment, "leased", run_id=stored.run_id)
        run_id = self.run_id = _known(assignment.run_id)
        while (state := await self._parts.queue.state(run_id)).run.status is None:  # noqa: ASYNC110 - another process may do it
            await asyncio.sleep(self._settings.watch_every)
        if state.run.status == FAILED:
            raise InvalidError("run_failed", state.reason or "the run ended without an output")
        return await read_finished(state.run, self._parts.journal)

    async def _beside_heartbeats(self, todo: Todo, work: Awaitable[Finished]) -> Finished:
        """Return what ``work`` returns, unless the lease is lost first; then the run is ended. Raises LeaseLostError."""
        working = asyncio.ensure_future(work)
        beating = asyncio.create_task(self._beat(todo))
        try:
            await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return await working
            await beating
            raise RuntimeError("heartbeats end with a lost lease only")
        except (LeaseLostError, InvalidError):
            if self.run_id is not None:
                with suppress(OrcaError):  # an ended run cannot be cancelled, and needs not
                    await self._parts.queue.cancel(self.run_id)
            raise
        finally:
            self.run_id = None
            for task in (working, beating):
                task.cancel()
            await asyncio.gather(working, beating, return_exceptions=True)

    async def _beat(self, todo: Todo) -> None:
        while True:
            try:
                await self._held(self._parts.middle.beat(todo, self._settings.gateway))
            except UnavailableError as error:  # no proof that the lease is lost: the next one may come through
                log.warning("heartbeat of work item %s: %s", todo.id, error)
            await asyncio.sleep(todo.heartbeatSeconds / _BEATS)

    async def _prove(self, assignment: Assignment, todo: Todo, lease: Lease, finished: Finished) -> Assignment:
        async with self._parts.turn:
            number = await self._parts.current_round()
            leased = LeasedTo(todo.lease.encode(), lease, number, self._parts.identity.account)
            key, network = self._parts.identity.staking, self._settings.network
            started = time.time()
            cid, _ = await asyncio.to_thread(prove, finished, key, self._parts.blocks, network=network, leased=leased)
            self._parts.watchers.proved(finished, str(cid), started)
            with about(run_id=finished.run.id, cid=str(cid)):
                log.info("work item %s is proved by %s for round %s", todo.id, cid, number)
            return await self._parts.records.move(assignment, "proved", round=number, cid=str(cid))

    async def _held(self, request: Awaitable[None]) -> None:
        """Await a request that only the holder of the lease may make. Raises LeaseLostError."""
        try:
            await request
        except InvalidError as error:
            if error.code in _LOST:
                raise LeaseLostError(error.code) from error
            raise

    async def _close(self, assignment: Assignment, ending: str) -> Assignment:
        log.warning("claim %s is closed: %s", assignment.claim_id, ending)
        return await self._parts.records.move(assignment, "closed", ending=ending[:2000])


def open_todo(todo: Todo, settings: RoundsSettings, identity: Identity) -> Lease:
    """Return the lease if it is the middle server's and promises what this node is about to do. Raises InvalidError ``lease_…``."""
    lease = open_lease(todo.lease.encode(), settings.lease_signer)
    bound = {
        "worker": (lease.worker, identity.key),
        "spec_sha256": (lease.spec_sha256, sha256_hex(todo.spec.encode())),
        "work_item": (lease.work_item, todo.id),
        "fencing_token": (lease.fencing_token, todo.fencingToken),
        "network": (lease.network, settings.network),
        "task_id": (lease.task_id, settings.task_id),
        "engine_revision": (lease.engine_revision, REVISION),
    }
    for name, (leased, ours) in bound.items():
        if leased != ours:
            raise InvalidError("lease_differs", f"the lease is for {name} {leased!r}, not {ours!r}")
    return lease


def refuse_unpaid(finished: Finished, lease: Lease) -> None:
    """Raise InvalidError for a result that this lease does not pay for: others may do better."""
    status = finished.output.status
    if status == "error" or (status != "success" and not lease.pays_partial):
        errors = [message.error for message in finished.output.output if message.error is not None]
        why = f": {errors[0].code}: {errors[0].detail}" if errors else ""
        raise InvalidError("result_not_payable", f"the run ended with {status!r}{why}")
    for entry in finished.entries:
        if entry.answer is not None and not lease.admits(entry.answer.model):
            raise InvalidError("model_not_leased", f"{entry.answer.model.model} answered, which the lease does not admit")


def deadline_of(lease: Lease) -> float:
    """Return when a run under ``lease`` ends at the latest: the same after a restart, so that it is the same run."""
    issued, expires = datetime.fromisoformat(lease.issued), datetime.fromisoformat(lease.expires)
    return (expires - min(_MARGIN, (expires - issued) / 2)).timestamp()


async def _until(moment: datetime) -> None:
    """Wait for a moment that is a little ahead: the server's clock may be, and no run begins before its lease was issued."""
    ahead = (moment - datetime.now(UTC)).total_seconds()
    if ahead > 10:
        raise InvalidError("clock_behind", f"this machine's clock is {ahead:.0f} s behind the middle server's; set it")
    await asyncio.sleep(max(0.0, ahead))


def _known(value: T | None) -> T:
    if value is None:
        raise RuntimeError("an assignment lacks what its state promises")
    return value
