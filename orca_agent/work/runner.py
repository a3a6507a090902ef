"""Takes an item to its output: begins or resumes the run, resolves its models, drives it, records that it ended."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orca_agent.models.registry import Registry
from orca_agent.models.retry import Clock, Policy, SystemClock
from orca_agent.observe.secrets import Secrets
from orca_agent.store.journal import FIRST_EPOCH, Hold, Journal, Lost, RunRecord
from orca_agent.tools.reach import Reach, Reached
from orca_agent.work.calls import ModelCalls
from orca_agent.work.events import OnEvent, RunStarted
from orca_agent.work.items import ceilings_kept
from orca_agent.work.live import LiveRun
from orca_engine.bounds import Bound, ceilings_of
from orca_engine.item import Item
from orca_engine.machine import Machine
from orca_engine.program import admit, output_of, program_of
from orca_engine.swarm import Ended
from orca_protocol.budget import Budget, Ceilings
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Entry, Path, StopReason
from orca_protocol.output import Output
from orca_protocol.world import Input

Said = Mapping[Path, Input]
#: keeps that a run has ended with all these entries
Finish = Callable[[tuple[Entry, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended. ``finished`` is in Unix seconds."""

    run: RunRecord
    item: Item
    entries: tuple[Entry, ...]
    output: Output
    finished: float


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How runs are made. ``follow`` streams the answers; ``in_flight`` bounds the calls at once, None leaves it to the swarm."""

    follow: bool = False
    in_flight: int | None = None
    retry: Policy = field(default_factory=Policy)


class Runner:
    """Runs items, one at a time, on this process's models and journal."""

    def __init__(
        self,
        journal: Journal,
        registry: Registry,
        secrets: Secrets,
        *,
        reach: Reach | None = None,
        options: RunOptions | None = None,
        on_event: OnEvent = lambda event: None,
        on_finished: Callable[[Finished], None] = lambda finished: None,
        clock: Clock | None = None,
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._secrets = secrets
        self._reach = reach or Reach()
        self._options = options or RunOptions()
        self._on_event = on_event
        self._on_finished = on_finished
        self._clock = clock or SystemClock()
        self._live: LiveRun[Ended] | None = None
        self._wanted: StopReason | None = None
        self._is_stopped = asyncio.Event()

    async def run(
        self,
        item: Item,
        spec: bytes,
        *,
        timeout: float | None = None,
        resume: bool = False,
        said: Said | None = None,
        budgets: Sequence[Budget] = (),
    ) -> Finished:
        """Run ``item`` to its end; with ``resume`` go on with the latest run of it, if there is one.

        ``timeout`` (seconds from the run's beginning) ends it with ``deadline``; ``budgets`` bound it beside its spec's own. A
        resumed run keeps what it had of both. ``said`` is what people have answered. Raises InvalidError before anything was asked
        for a spec this node cannot run, InputAwaitedError where somebody must answer first, and what the journal raises.
        """
        refuse_secrets(self._secrets, item, spec)
        bound = admit(item.spec)
        found = await self._journal.latest(item.id) if resume else None
        run = found or await self._new_run(item, spec, bound, timeout, budgets)
        item = replace(item, ceilings=ceilings_kept(run))
        machine: Machine[Ended] = Machine(program_of(item, bound))
        try:
            if found is not None:
                return await self._complete(item, machine, run, await self._journal.take(run.id), said)
            return await self._begin(item, machine, run, said)
        finally:
            machine.close()

    async def go_on(self, item: Item, run: RunRecord, hold: Hold, said: Said | None = None) -> Finished:
        """Take a run that is held already to its end. Raises as ``run`` does.

        If ``stop`` was called before, nothing is asked: every path gets its stop, and the run its output.
        """
        refuse_secrets(self._secrets, item, run.spec)
        machine: Machine[Ended] = Machine(program_of(item))
        try:
            await self._resolve_unless_stopped(item)
            return await self._complete(item, machine, run, hold, said)
        finally:
            machine.close()

    def stop(self, reason: StopReason) -> None:
        """End the run that is under way, or the one that comes next; what was answered is kept. The first reason counts."""
        self._wanted = self._wanted or reason
        self._is_stopped.set()
        if self._live is not None:
            self._live.stop(self._wanted)

    async def _complete(self, item: Item, machine: Machine[Ended], run: RunRecord, hold: Hold, said: Said | None) -> Finished:
        ended: list[Finished] = []

        async def finish(entries: tuple[Entry, ...]) -> None:
            output = output_of(item, machine.result, entries)
            ended.append(Finished(run, item, entries, output, run.finished or self._clock.now().timestamp()))
            await self._journal.finish(hold, output.status, ended[0].finished, len(entries))

        await self._drive(machine, run, hold, said, finish)
        self._on_finished(ended[0])
        return ended[0]

    async def _begin(self, item: Item, machine: Machine[Ended], run: RunRecord, said: Said | None) -> Finished:
        """Begin ``run`` and take it to its end. Its beginning is kept in order, and so before anything is asked: with the first
        calls' intents, if those are made meanwhile."""
        beginning = asyncio.create_task(self._journal.begin(run))
        try:
            ended = await self._complete(item, machine, run, Hold(run.id, FIRST_EPOCH), said)
        except asyncio.CancelledError:
            beginning.cancel()
            raise
        except Exception:
            await beginning  # where it failed, that is the reason of whatever failed after it
            raise
        await beginning
        return ended

    async def _new_run(self, item: Item, spec: bytes, bound: Bound, timeout: float | None, budgets: Sequence[Budget]) -> RunRecord:
        await self._resolve_models(item)
        ceilings = await self._ceilings(item, bound, budgets)
        started = self._clock.now().timestamp()
        ends = [float(seconds) for seconds in (timeout, ceilings.seconds) if seconds is not None]
        deadline = started + min(ends) if ends else None
        stated = ceilings.model_dump_json(exclude_none=True)
        return RunRecord(str(uuid.uuid4()), item.id, spec, started, deadline, ceilings=stated)

    async def _ceilings(self, item: Item, bound: Bound, budgets: Sequence[Budget]) -> Ceilings:
        given = [budget for budget in (item.spec.budget, *budgets) if budget is not None]
        is_money_bounded = any(budget.cost is not None for budget in given)
        prices = await self._registry.known_prices(item.spec.model_names) if is_money_bounded else {}
        return ceilings_of(item.spec, budgets, prices, bound=bound)

    async def _resolve_models(self, item: Item) -> None:
        self._reach.refuse_others(item.spec)
        for name in item.spec.model_names:
            await self._registry.resolve(name)

    async def _resolve_unless_stopped(self, item: Item) -> None:
        """A run that is stopped asks no model: servers that are slow to say what they have are not waited for."""
        resolving = asyncio.create_task(self._resolve_models(item))
        stopped = asyncio.create_task(self._is_stopped.wait())
        try:
            await asyncio.wait({resolving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not self._is_stopped.is_set():
                resolving.result()
        finally:
            resolving.cancel()
            stopped.cancel()
            await asyncio.gather(resolving, stopped, return_exceptions=True)

    async def _drive(self, machine: Machine[Ended], run: RunRecord, hold: Hold, said: Said | None, finish: Finish) -> None:
        is_new = hold.epoch == FIRST_EPOCH
        known = {} if is_new else {Path(*entry.path): entry for entry in await self._journal.entries(run.id)}
        lost = {} if is_new else {call.path: call for call in await self._journal.lost(run.id)}
        left = None if run.deadline is None else max(0.0, run.deadline - self._clock.now().timestamp())
        self._on_event(RunStarted(run.id, len(known), len(lost), left))
        async with self._reach.opened() as reached:
            for entry in known.values():
                reached.keep(entry.outcome)
            await self._live_run(machine, run, self._calls(hold, lost, reached, finish), known, said)

    def _calls(self, hold: Hold, lost: Mapping[Path, Lost], reached: Reached, finish: Finish) -> ModelCalls:
        return ModelCalls(
            self._journal,
            hold,
            self._registry,
            self._secrets,
            reached,
            policy=self._options.retry,
            follow=self._options.follow,
            on_event=self._on_event,
            clock=self._clock,
            lost=lost,
            finish=finish,
        )

    async def _live_run(
        self, machine: Machine[Ended], run: RunRecord, calls: ModelCalls, known: Mapping[Path, Entry], said: Said | None
    ) -> None:
        self._live = LiveRun(machine, calls, known, said=said, in_flight=self._options.in_flight)
        if self._wanted is not None:
            self._live.stop(self._wanted)
        alarm = self._set_alarm(run)
        try:
            await self._live.drive()
        finally:
            self._live = None
            if alarm is not None:
                alarm.cancel()

    def _set_alarm(self, run: RunRecord) -> asyncio.TimerHandle | None:
        if run.deadline is None:
            return None
        left = run.deadline - self._clock.now().timestamp()
        if left <= 0:  # at once: a run that only waits for a person would be put away before an alarm rings
            self.stop("deadline")
            return None
        return asyncio.get_running_loop().call_later(left, self.stop, "deadline")


def refuse_secrets(secrets: Secrets, item: Item, spec: bytes) -> None:
    """Refuse an item that holds one of this node's own keys, in whatever way its spec spells it."""
    if secrets.are_in(spec) or secrets.are_in(item.spec.model_dump_json().encode()):
        raise InvalidError("secret_in_spec", "the spec contains one of this node's own keys; specs and proofs are public")
