"""A worker: woken by the queue, claims a run, heartbeats while it runs, and says what became of it.

Only the claim and the journal decide whose run it is. A worker that was stopped for too long finds its lease gone and its
writes refused, and drops the run; a worker that is told to stop hands its runs back. What a run tells is written beside it
and is complete before the run is said to have ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable

from orca_agent.observe.about import about
from orca_agent.store.events import EventLog, cancel_topic
from orca_agent.store.journal import RunRecord
from orca_agent.work.events import OnEvent
from orca_agent.work.items import item_of
from orca_agent.work.lease import Fail, when_given_up
from orca_agent.work.live import InputAwaitedError
from orca_agent.work.queue import Claim, RunQueue
from orca_agent.work.recorder import Recorder
from orca_agent.work.runner import Runner
from orca_engine.bounds import inputs_at_most
from orca_engine.item import Item
from orca_protocol.errors import OrcaError, UnavailableError

log = logging.getLogger(__name__)

#: seconds before a queue that did not answer is asked again
_RECONNECT = 1.0
#: seconds that handing a run back may take while this process is ending
_HAND_BACK = 5.0
#: seconds that a run which ended waits for its last events to be written
_LAST_EVENTS = 10.0
#: how long the events of an ended run are kept, and how often that is looked through
KEEP_EVENTS = 30 * 24 * 3600.0
_FORGET = 600.0

RunnerFor = Callable[[RunRecord, OnEvent], Runner]


class Worker:
    """Runs what the queue announces and tells ``events`` of it.

    ``runner_for`` makes the runner of one run; ``concurrency`` bounds the runs at once; the events of a run are deleted
    ``keep_events`` seconds after its end; ``on_failed`` is told which run ended without an output.
    """

    def __init__(
        self,
        queue: RunQueue,
        events: EventLog,
        runner_for: RunnerFor,
        *,
        concurrency: int = 4,
        keep_events: float = KEEP_EVENTS,
        on_failed: Callable[[str], None] = lambda run_id: None,
    ) -> None:
        self._queue = queue
        self._events = events
        self._runner_for = runner_for
        self._concurrency = concurrency
        self._keep_events = keep_events
        self._on_failed = on_failed
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    async def serve(self, *, grace: float = 5.0) -> None:
        """Work until cancelled; runs under way then get ``grace`` seconds to end before they are handed back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            group.create_task(self._forget())
            group.create_task(self._listen(grace))

    async def work(self, run_id: str) -> None:
        """Claim the run and take it as far as it goes; nothing is done if it is somebody else's or has ended."""
        claim = await self._queue.claim(run_id, self.name)
        if claim is not None:
            with about(run_id=run_id, work_item=claim.run.item_id):
                await self._work(claim)

    async def _work(self, claim: Claim) -> None:
        recorder = Recorder(self._events, claim.hold)
        runner: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(self._run(claim, recorder, runner))
        beating = asyncio.create_task(self._beat(claim, runner))
        try:
            await asyncio.wait({running, beating}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _cancelled(running)
            await recorder.close(_HAND_BACK)
            await self._hand_back(claim)
            raise
        finally:
            await _cancelled(running, beating)
            await recorder.close(0)

    async def _listen(self, grace: float) -> None:
        while True:
            try:
                await self._queue.listen(self.work, concurrency=self._concurrency, name=self.name, grace=grace)
            except UnavailableError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # a database that is gone cannot be told goodbye, and says so instead
                    raise asyncio.CancelledError from error
                log.warning("listening again in %s s: %s", _RECONNECT, error)
            await asyncio.sleep(_RECONNECT)

    async def _sweep(self) -> None:
        while True:
            try:
                await self._queue.sweep()
            except UnavailableError as error:
                log.warning("sweeping again in %s s: %s", self._queue.policy.sweep, error)
            await asyncio.sleep(self._queue.policy.sweep)

    async def _forget(self) -> None:
        """Delete old events, some runs at a time."""
        while True:
            count = 0
            try:
                count = await self._events.forget(self._keep_events)
            except UnavailableError as error:
                log.warning("no events were forgotten: %s", error)
            await asyncio.sleep(self._queue.policy.sweep if count else _FORGET)

    async def _beat(self, claim: Claim, runner: asyncio.Future[Runner]) -> None:
        """Extend the lease until it is lost. A database that does not answer is no proof of that.

        Whoever wants the run ended rings; a bell that was not heard is made up for at the next beat.
        """
        with self._events.wakes.topic(cancel_topic(claim.run.id)) as wake:
            while True:
                await wake.wait(self._queue.policy.beat)
                try:
                    standing = await self._queue.beat(claim)
                except UnavailableError as error:
                    log.warning("the lease of run %s could not be extended: %s", claim.run.id, error)
                    continue
                if standing is None:
                    log.warning("run %s is no longer held by %s", claim.run.id, self.name)
                    return
                if standing.is_cancelled:
                    (await runner).stop("cancelled")

    async def _run(self, claim: Claim, recorder: Recorder, made: asyncio.Future[Runner]) -> None:
        run = claim.run
        try:
            runner = self._runner_for(run, recorder)
            if claim.is_cancelled:
                runner.stop("cancelled")
            made.set_result(runner)
            await self._take_on(runner, item_of(run), claim)
            await recorder.close(_LAST_EVENTS)
            await self._queue.done(claim)
        except InputAwaitedError as waiting:
            await recorder.close(_LAST_EVENTS)
            await self._await_input(claim, waiting)
        except OrcaError as error:
            if error.code == "run_taken_over":
                log.warning("%s", error.detail)
                return
            wish = error.retry_after if isinstance(error, UnavailableError) else None
            await recorder.close(_LAST_EVENTS)
            await self._give_up(claim, str(error), may_help=isinstance(error, UnavailableError), retry_after=wish)
        except Exception as error:  # the outermost loop of a run: one mistake of ours must not end the others
            log.exception("run %s", run.id)
            await recorder.close(_LAST_EVENTS)
            await self._give_up(claim, f"internal_error: {type(error).__name__}", may_help=True, retry_after=None)

    async def _take_on(self, runner: Runner, item: Item, claim: Claim) -> None:
        """Go on with the run, knowing what people have said."""
        said = await self._queue.inputs(claim.run.id) if inputs_at_most(item.spec) else None
        await runner.go_on(item, claim.run, claim.hold, said)

    async def _await_input(self, claim: Claim, waiting: InputAwaitedError) -> None:
        """Leave the run to whoever answers. If that cannot be said, its lease expires, and it is found to wait again."""
        try:
            await self._queue.await_input(claim, waiting.calls)
        except UnavailableError as error:
            log.warning("run %s is left to its lease: %s", claim.run.id, error)

    async def _hand_back(self, claim: Claim) -> None:
        """Let others go on with the run at once; without this they would wait for its lease to expire."""
        try:
            async with asyncio.timeout(_HAND_BACK):
                await self._queue.give_back(claim)
        except (TimeoutError, UnavailableError) as error:
            log.warning("run %s is left to its lease: %s", claim.run.id, error)

    async def _give_up(self, claim: Claim, reason: str, *, may_help: bool, retry_after: float | None) -> None:
        """Say that the run was not finished. If that cannot be said either, its lease expires and says it."""
        decision = when_given_up(self._queue.policy, claim.attempts, reason, may_help=may_help, retry_after=retry_after)
        log.warning("run %s, attempt %s: %s; %s", claim.run.id, claim.attempts, reason, decision)
        try:
            if isinstance(decision, Fail):
                await self._queue.fail(claim, decision.reason)
                self._on_failed(claim.run.id)
            else:
                await self._queue.wait(claim, decision.seconds)
        except UnavailableError as error:
            log.warning("run %s is left to its lease: %s", claim.run.id, error)


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks that still run, wait for them, and raise what went wrong in those that had ended."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
