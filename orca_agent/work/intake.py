"""Takes work in: checked before it is stored, stored once however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

from orca_agent.models.retry import Clock, SystemClock
from orca_agent.observe.secrets import Secrets
from orca_agent.store.journal import RunRecord
from orca_agent.work.inputs import Given
from orca_agent.work.queue import RunQueue, Stored
from orca_agent.work.runner import refuse_secrets
from orca_engine.item import Item
from orca_engine.program import admit
from orca_protocol.errors import InvalidError
from orca_protocol.spec import ScheduleSpec
from orca_time.schedule import due_of

_KEY_MAX = 255


class Intake:
    """The way into the queue; ``at_most`` bounds the runs that have not ended, None lets all in."""

    def __init__(self, queue: RunQueue, secrets: Secrets, clock: Clock | None = None, *, at_most: int | None = None) -> None:
        self._queue = queue
        self._secrets = secrets
        self._at_most = at_most
        self._clock = clock or SystemClock()

    async def submit(
        self,
        item: Item,
        spec: bytes,
        *,
        key: str,
        timeout: float | None = None,
        deadline: float | None = None,
        schedule: ScheduleSpec | None = None,
    ) -> Stored:
        """Store a run of ``item``, whose received bytes are ``spec``; the same ``key`` gets the same run again.

        ``timeout`` counts from now, so time in the queue is part of it, or from when the run is due; ``deadline`` stands for it
        where the moment itself is known, in seconds since 1970. ``schedule`` is the item's, for a caller who holds the run back
        until then: for a leased item the middle server has done so. Raises InvalidError ``idempotency_key``,
        ``idempotency_conflict``, ``secret_in_spec``, as ``due_of`` does, or what the engine has against the item; LimitError
        ``queue_full``.
        """
        if not 0 < len(key) <= _KEY_MAX or not key.isprintable():
            raise InvalidError("idempotency_key", f"an idempotency key is 1 to {_KEY_MAX} printable characters")
        await asyncio.to_thread(self._check, item, spec)  # a large spec takes long to look at
        ends = timeout if deadline is None else f"at {deadline}"
        digest = hashlib.sha256(f"{item.id}\n{ends}\n".encode() + spec).hexdigest()
        due, now = None, self._clock.now()
        if schedule is not None:
            if (before := await self._queue.stored(key, digest)) is not None:  # whoever asks again may do so after the moment
                return before
            due = due_of(schedule, now)
        begins = max(now, due.at).timestamp() if due is not None else now.timestamp()
        until = begins + timeout if timeout is not None else deadline
        run = RunRecord(str(uuid.uuid4()), item.id, spec, begins, until)
        return await self._queue.submit(run, key=key, digest=digest, at_most=self._at_most, due=due)

    async def give_input(self, run_id: str, given: Given) -> None:
        """Keep what a person said to a run that asked. Raises InvalidError ``secret_in_input``, and as the queue does."""
        if self._secrets.are_in(given.said.content.encode()):
            raise InvalidError("secret_in_input", "the input contains one of this node's own keys; journals and proofs are public")
        await self._queue.give_input(run_id, given)

    def _check(self, item: Item, spec: bytes) -> None:
        refuse_secrets(self._secrets, item, spec)
        admit(item.spec)
