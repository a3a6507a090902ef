"""Takes work in: checked before it is stored, stored once however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import math
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from orca_agent.models.retry import Clock, SystemClock
from orca_agent.observe.secrets import Secrets
from orca_agent.store.journal import RunRecord
from orca_agent.work.inputs import Given
from orca_agent.work.orders import Order
from orca_agent.work.queue import RunQueue, Stored
from orca_agent.work.runner import refuse_secrets
from orca_engine.item import Item
from orca_engine.program import admit
from orca_protocol.budget import Budget, Ceilings, Price
from orca_protocol.errors import InvalidError, OrcaError
from orca_protocol.spec import ScheduleSpec
from orca_time.schedule import due_of

_KEY_MAX = 255

#: what the named models cost, as far as that is known
PricesOf = Callable[[Iterable[str]], Awaitable[Mapping[str, Price]]]


class Intake:
    """The way into the queue; ``at_most`` bounds the runs that have not ended, None lets all in.

    ``prices`` says what models cost, by the names that specs use: those that are known. Without it money cannot be bounded.
    ``refuse`` raises InvalidError for what else this node does not do.
    """

    def __init__(
        self,
        queue: RunQueue,
        secrets: Secrets,
        clock: Clock | None = None,
        *,
        at_most: int | None = None,
        prices: PricesOf | None = None,
        refuse: Callable[[Item], None] = lambda item: None,
    ) -> None:
        self._queue = queue
        self._secrets = secrets
        self._at_most = at_most
        self._prices = prices or _none_known
        self._refuse = refuse
        self._clock = clock or SystemClock()

    async def submit(
        self,
        item: Item,
        spec: bytes,
        *,
        key: str,
        timeout: float | None = None,
        deadline: float | None = None,
        budgets: Sequence[Budget] = (),
        owner: str | None = None,
        schedule: ScheduleSpec | None = None,
    ) -> Stored:
        """Store a run of ``item``, whose received bytes are ``spec``; the same ``key`` gets the same run again.

        ``timeout`` counts from now, so time in the queue is part of it, or from when the run is due; ``deadline`` stands for it
        where the moment itself is known, in seconds since 1970. ``budgets`` bound the run beside its spec's own; ``owner`` is the
        API key whose run it is, within whose limits it stays. ``schedule`` is the item's, for a caller who holds the run back until
        then: for a leased item the middle server has done so. Raises InvalidError ``idempotency_key``, ``idempotency_conflict``,
        ``secret_in_spec``, as ``due_of`` does, or what the engine has against the item and its budgets; LimitError ``queue_full``,
        and those of the key's limits.
        """
        if not 0 < len(key) <= _KEY_MAX or not key.isprintable():
            raise InvalidError("idempotency_key", f"an idempotency key is 1 to {_KEY_MAX} printable characters")
        ends = timeout if deadline is None else f"at {deadline}"
        digest = hashlib.sha256(f"{item.id}\n{ends}\n".encode() + spec).hexdigest()
        if (before := await self._queue.stored(key, digest)) is not None:  # the moment may be over, a model's server down by now
            return before
        order = await self._order(item, budgets, owner)
        ceilings = await asyncio.to_thread(self._check, item, spec, order)  # a large spec takes long to look at
        now = self._clock.now()
        due = None if schedule is None else due_of(schedule, now)
        begins = (now if due is None else max(now, due.at)).timestamp()
        until = begins + timeout if timeout is not None else deadline
        if ceilings.seconds is not None:
            until = min(begins + float(ceilings.seconds), math.inf if until is None else until)
        run = RunRecord(str(uuid.uuid4()), item.id, spec, begins, until)
        return await self._queue.submit(run, order, key=key, digest=digest, at_most=self._at_most, due=due)

    async def give_input(self, run_id: str, given: Given) -> None:
        """Keep what a person said to a run that asked. Raises InvalidError ``secret_in_input``, and as the queue does."""
        if self._secrets.are_in(given.said.content.encode()):
            raise InvalidError("secret_in_input", "the input contains one of this node's own keys; journals and proofs are public")
        await self._queue.give_input(run_id, given)

    async def _order(self, item: Item, budgets: Sequence[Budget], owner: str | None) -> Order:
        """Ask what the models cost where money is bounded, or may be by the key, which is not known yet."""
        is_bounded = any(budget is not None and budget.cost is not None for budget in (item.spec.budget, *budgets))
        if not is_bounded and owner is None:
            return Order(item.spec, budgets)
        try:
            return Order(item.spec, budgets, await self._prices(item.spec.model_names), owner)
        except OrcaError as error:
            if is_bounded:
                raise
            return Order(item.spec, budgets, owner=owner, why_no_prices=error)

    def _check(self, item: Item, spec: bytes, order: Order) -> Ceilings:
        refuse_secrets(self._secrets, item, spec)
        admit(item.spec)
        self._refuse(item)
        return order.ceilings()


async def _none_known(_: Iterable[str]) -> Mapping[str, Price]:
    return {}
