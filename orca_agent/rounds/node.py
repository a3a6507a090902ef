"""The loop of a node that stands alone: looks at the chain, and does what is due.

Each duty is a task of its own, so that an audit that takes minutes keeps no submission from its window. A duty that failed
is tried again while it is due: after a moment where the world did not answer, later where somebody refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from random import SystemRandom

from koii_chain.client import ChainClient, Snapshot
from koii_chain.distribution import Claim, Distribution, contradicts
from koii_chain.state import TaskState
from orca_agent.rounds.acting import Acting
from orca_agent.rounds.auditing import Auditing
from orca_agent.rounds.middle import MiddleClient
from orca_agent.rounds.paying import Paying, Reading, outcomes_json
from orca_agent.rounds.schedule import LOOK_BACK, Done, Duty, Kind, claims_in, due, is_late, next_slot, opinion_on
from orca_agent.rounds.settings import RoundsSettings
from orca_agent.rounds.status import Look
from orca_agent.rounds.submitting import Submitting
from orca_agent.rounds.telling import Telling
from orca_agent.store.records import NodeRecords
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.verdict import Vote

log = logging.getLogger(__name__)

#: a refusal is looked at again after so many times the wait for a world that did not answer
_PATIENCE = 5
#: between two words to the middle server that this node is there
_ANNOUNCE_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What the loop is made of."""

    key: str
    chain: ChainClient
    middle: MiddleClient
    records: NodeRecords
    auditing: Auditing
    submitting: Submitting
    paying: Paying
    acting: Acting
    #: None: nobody follows this node's runs
    telling: Telling | None = None


class RoundsNode:
    """Serves until it is cancelled."""

    def __init__(self, settings: RoundsSettings, parts: NodeParts, *, steady: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._parts = parts
        self._steady = steady
        self.look = Look()
        self._running: dict[Duty, asyncio.Task[None]] = {}
        self._not_before: dict[Duty, float] = {}
        self._votes: dict[int, dict[Claim, Vote]] = {}
        self._drawn: dict[int, frozenset[Claim]] = {}
        self._checked: set[tuple[int, str]] = set()
        self._sound: set[tuple[int, str]] = set()
        self._paid: set[tuple[int, str]] = set()
        self._settled: set[int] | None = None
        self._do: dict[Kind, Callable[[TaskState, Duty], Awaitable[None]]] = {
            "submit": self._submit,
            "audit": self._audit,
            "vote": self._vote,
            "list": self._list,
            "check_list": self._check_list,
            "defend_list": self._defend_list,
            "payout": self._payout,
            "collect": self._collect,
            "settle": self._settle,
        }

    async def serve(self) -> None:
        """Do what is due, and say now and then that this node is there."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announce())
            group.create_task(self._serve(group))

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        while True:
            try:
                await self._look_once(group)
            except OrcaError as error:
                self.look.blind = f"{error.code}: {error.detail}"
                log.warning("looking at the chain again in %s s: %s", self._settings.look_every, error)
            await asyncio.sleep(self._settings.look_every)

    async def _announce(self) -> None:
        while True:
            try:
                await self._parts.middle.announce(self._settings.gateway)
            except OrcaError as error:
                log.warning("the middle server does not know that this node is there: %s", error)
                await asyncio.sleep(self._settings.retry_after)
            else:
                await asyncio.sleep(_ANNOUNCE_EVERY)

    async def _look_once(self, group: asyncio.TaskGroup) -> None:
        slot = await self._parts.chain.slot()
        snapshot = await self._parts.chain.task(self._settings.task_id)
        duties = await self._due(snapshot, slot)
        if any(map(self._may_start, duties)) and snapshot.slot < slot:
            # What is done is done upon the chain of now: a list made from a kept state would lack what came since.
            snapshot = await self._parts.chain.fresh_task(self._settings.task_id)
            slot = snapshot.slot
            duties = await self._due(snapshot, slot)
        for remembered in (self.look.troubles, self._not_before):
            for duty in remembered.keys() - set(duties) - self._running.keys():
                del remembered[duty]
        for duty in filter(self._may_start, duties):
            self._running[duty] = group.create_task(self._perform(snapshot.task, duty), name=f"{duty.kind} {duty.round}")
        is_begun = slot >= snapshot.task.starting_slot
        self.look.round = snapshot.task.clock.round_at(slot) if is_begun else None
        self.look.next_slot = next_slot(snapshot.task, slot)
        # What somebody refused is in ``troubles``; waiting for it would be waiting for ever.
        self.look.due = sorted({*self._running, *(duty for duty in duties if duty not in self.look.troubles)})
        self.look.slot = slot
        self.look.blind = None
        self.look.count += 1

    async def _due(self, snapshot: Snapshot, slot: int) -> list[Duty]:
        await self._remember(snapshot, slot)
        made = [one.round for one in await self._parts.records.open_assignments() if one.state == "proved"]
        unreported = frozenset(number for number in made if number is not None)
        return due(snapshot.task, slot, self._parts.key, self._done(unreported))

    def _may_start(self, duty: Duty) -> bool:
        return duty not in self._running and self._steady() >= self._not_before.get(duty, 0.0)

    async def _remember(self, snapshot: Snapshot, slot: int) -> None:
        """Read this node's own verdicts on the rounds that are looked at, and draw what it audits of a new one."""
        if self._settled is None:
            self._settled = await self._parts.records.settled_rounds()
        number = snapshot.task.clock.round_at(slot) if slot >= snapshot.task.starting_slot else 0
        for past in range(max(0, number - 2), number):
            if past not in self._votes:
                self._votes[past] = {(one.worker, one.cid): one.vote for one in await self._parts.records.reviews_of(past)}
            if past not in self._drawn and snapshot.slot >= snapshot.task.clock.submission(past).end:
                claims, judged = claims_in(snapshot.task, past), self._votes[past].keys()
                self._drawn[past] = draw(claims, self._parts.key, self._settings.audits_per_round, judged)
        for old in [past for past in self._votes if past < number - 2]:
            del self._votes[old]
            self._drawn.pop(old, None)
        for known in (self._checked, self._paid, self._sound):
            known -= {one for one in known if one[0] < number - LOOK_BACK}

    def _done(self, unreported: frozenset[int]) -> Done:
        return Done(
            votes=self._votes,
            drawn=self._drawn,
            checked=frozenset(self._checked),
            paid=frozenset(self._paid),
            sound=frozenset(self._sound),
            settled=frozenset(self._settled or ()),
            unreported=unreported,
        )

    async def _perform(self, task: TaskState, duty: Duty) -> None:
        wait = 0.0
        try:
            await self._do[duty.kind](task, duty)
            self.look.troubles.pop(duty, None)
        except UnavailableError as error:
            wait = error.retry_after or self._settings.retry_after
            log.warning("%s of round %s again in %s s: %s", duty.kind, duty.round, wait, error)
        except OrcaError as error:
            wait = _PATIENCE * self._settings.retry_after
            self.look.troubles[duty] = f"{error.code}: {error.detail}"
            log.warning("%s of round %s: %s", duty.kind, duty.round, error)
        except Exception as error:  # the outermost loop of a duty: one mistake of ours must not end the others
            wait = _PATIENCE * self._settings.retry_after
            self.look.troubles[duty] = f"internal_error: {type(error).__name__}"
            log.exception("%s of round %s", duty.kind, duty.round)
        finally:
            self._not_before[duty] = self._steady() + wait
            self._running.pop(duty, None)

    async def _submit(self, task: TaskState, duty: Duty) -> None:
        await self._leave_to_another(task, duty.round)
        value = await self._parts.submitting.value_for(duty.round)
        await self._parts.acting.submit(duty.round, value)
        # What counts is what the chain took, also if that was said before a crash, and of other records.
        taken = (await self._parts.chain.fresh_task(task.task_id)).task.submitted(duty.round, self._parts.key)
        await self._parts.records.keep_submission(duty.round, value if taken is None else taken.submission_value)
        log.info("round %s: %s", duty.round, value)

    async def _leave_to_another(self, task: TaskState, number: int) -> None:
        """Raise InvalidError ``key_used_twice`` while another process with this key has a proof to submit that is not known here.

        A key submits once. At the end of the window nobody is waited for, and a middle server that does not answer is not either.
        """
        if self.look.slot is None or is_late(task, self.look.slot, number):
            return
        try:
            reported = {one.cid for one in await self._parts.middle.results(number) if one.worker == self._parts.key}
        except OrcaError as error:
            log.warning("whether another process uses this key is not known: %s", error)
            return
        if foreign := sorted(reported - {one.cid for one in await self._parts.records.assignments_of(number)}):
            raise InvalidError(
                "key_used_twice", f"another process with this node's key made {foreign[0]}, and is left to submit it"
            )

    async def _audit(self, task: TaskState, duty: Duty) -> None:
        votes = self._votes[duty.round]
        for claim in sorted(self._drawn.get(duty.round, frozenset()) - votes.keys()):
            votes[claim] = (await self._parts.auditing.review(duty.round, claim)).vote

    async def _vote(self, task: TaskState, duty: Duty) -> None:
        is_valid = opinion_on(self._votes[duty.round], duty.subject, claims_in(task, duty.round)) == "approve"
        await self._parts.acting.vote(duty.round, duty.subject, is_valid=is_valid)

    async def _list(self, task: TaskState, duty: Duty) -> None:
        distribution, _ = await self._distribution(task, duty.round)
        if distribution.pays:
            await self._parts.acting.put_list(duty.round, distribution.amounts)
        self._checked.add((duty.round, self._parts.key))

    async def _check_list(self, task: TaskState, duty: Duty) -> None:
        distribution, reading = await self._distribution(task, duty.round)
        if reading.missing:
            log.warning("the list of round %s by %s is not judged: %s", duty.round, duty.subject, "; ".join(reading.missing))
        elif contradicts((await self._parts.chain.lists(self._settings.task_id, duty.round))[duty.subject], distribution):
            log.warning("the list of round %s by %s is not the one that follows from the chain", duty.round, duty.subject)
            await self._parts.acting.vote_on_list(duty.round, duty.subject, is_valid=False)
        else:
            self._sound.add((duty.round, duty.subject))
        self._checked.add((duty.round, duty.subject))

    async def _defend_list(self, task: TaskState, duty: Duty) -> None:
        await self._parts.acting.vote_on_list(duty.round, duty.subject, is_valid=True)

    async def _payout(self, task: TaskState, duty: Duty) -> None:
        await self._parts.acting.pay_out(duty.round, duty.subject)
        self._paid.add((duty.round, duty.subject))

    async def _collect(self, task: TaskState, duty: Duty) -> None:
        await self._parts.acting.collect(task)

    async def _settle(self, task: TaskState, duty: Duty) -> None:
        if not await self._parts.records.has_outcomes(duty.round):  # after the payout the chain's state is another one
            await self._distribution(task, duty.round)
        try:
            await self._parts.middle.settle(duty.round)
        except InvalidError as error:
            if error.code == "distribution_absent":  # it reads the chain a moment later than this node
                raise UnavailableError(error.code, error.detail) from error
            raise
        await self._parts.records.keep_settled(duty.round)
        if self._settled is not None:
            self._settled.add(duty.round)

    async def _distribution(self, task: TaskState, number: int) -> tuple[Distribution, Reading]:
        distribution, reading = await self._parts.paying.distribution(task, number)
        await self._parts.records.keep_outcomes(number, outcomes_json(distribution, reading, self._parts.key))
        if self._parts.telling is not None:
            await self._parts.telling.tell(number, distribution, reading)
        return distribution, reading


def draw(claims: frozenset[Claim], key: str, most: int, judged: Collection[Claim] = ()) -> frozenset[Claim]:
    """Choose which claims of others are audited, so that nobody can foresee it; what was judged before a restart is of them."""
    others = sorted(claim for claim in claims if claim[0] != key and claim not in judged)
    return frozenset(SystemRandom().sample(others, min(max(0, most - len(judged)), len(others)))) | (claims & frozenset(judged))
