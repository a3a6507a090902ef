"""Retrying a model call: the one place where it is done, so that attempts never stack.

A failure of the world comes back as a value beside the tries that were made, for both belong in the journal. Only
UnavailableError is tried again. A server's ``Retry-After`` is waited for if it is bearable; if not, this is the end: asking
sooner than told would be rude and useless. Cancellation passes through, at any moment.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState
from tenacity.retry import retry_if_exception

from orca_agent.models.base import NO_IMAGES, Deltas, Images, Provider
from orca_protocol.errors import OrcaError, UnavailableError
from orca_protocol.model import Answer, Attempt, Failure, ModelRequest

#: the world's state here and now: waiting seconds will not install anything
_HOPELESS = frozenset(
    {
        "model_not_installed",
        "weights_mismatch",
        "model_load_failed",
        "model_does_not_fit",
        "memory_unknown",
        "client_closed",
        "provider_closed",
    }
)


class Clock(Protocol):
    """Time as retrying needs it."""

    def now(self) -> datetime:
        """The wall clock, in UTC: for the record only."""

    def monotonic(self) -> float:
        """Seconds that never run backwards: for durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Policy:
    """When to try again: exponential back-off with full jitter, so that 200 agents refused at once do not return at once."""

    attempts: int = 4
    #: seconds before the second try are drawn from 0…base, then from twice as much each time
    base: float = 0.5
    cap: float = 30.0
    #: the longest ``Retry-After`` that is waited for
    patience: float = 120.0
    #: draws between two bounds; timing is not a secret
    draw: Callable[[float, float], float] = random.uniform

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.cap < 0 or self.patience < 0:
            raise ValueError("a retry policy needs at least one attempt and no negative times")

    def should_retry(self, error: BaseException) -> bool:
        """Whether trying again may help, and soon enough."""
        if not isinstance(error, UnavailableError) or error.code in _HOPELESS:
            return False
        return error.retry_after is None or error.retry_after <= self.patience

    def wait(self, tried: int, error: BaseException) -> float:
        """Return the seconds to wait after ``tried`` tries: at least what the server asked for."""
        jitter = self.draw(0.0, min(self.cap, self.base * 2.0 ** (tried - 1)))
        asked = error.retry_after if isinstance(error, UnavailableError) else None
        return jitter if asked is None else asked + min(jitter, self.base)


@dataclass(frozen=True)
class Asked:
    """What a call came to, and every try it took."""

    result: Answer | Failure
    attempts: tuple[Attempt, ...]


async def ask(
    provider: Provider,
    model: str,
    request: ModelRequest,
    *,
    policy: Policy,
    on_delta: Deltas | None,
    images: Images = NO_IMAGES,
    on_restart: Callable[[], None],
    clock: Clock,
) -> Asked:
    """Ask until there is an answer or no hope. Model failures are returned, never raised; CancelledError passes.

    ``on_restart`` is called before a new try if deltas of a failed one had been delivered: whoever shows them must drop them.
    """
    call = _Call(provider, model, request, on_delta, images, clock)
    try:
        # Nearly always the only try. Tenacity comes in after a failure: its machinery costs a third of a whole call.
        answer = await call.once()
    except OrcaError as error:
        return await _again(call, error, policy, on_restart, clock)
    return Asked(answer, tuple(call.attempts))


async def _again(call: _Call, first: OrcaError, policy: Policy, on_restart: Callable[[], None], clock: Clock) -> Asked:
    """Go on after a first try that failed with ``first``, which counts as try number one."""
    failed: list[OrcaError] = [first]

    async def attempt() -> Answer:
        if failed:
            raise failed.pop()
        return await call.once()

    async def between(seconds: float) -> None:
        await clock.sleep(seconds)
        if call.delivered:
            call.delivered = False
            on_restart()

    retrying = AsyncRetrying(
        retry=retry_if_exception(policy.should_retry),
        stop=lambda state: state.attempt_number >= policy.attempts,
        wait=lambda state: policy.wait(state.attempt_number, _error(state)),
        sleep=between,
        reraise=True,
    )
    try:
        answer: Answer = await retrying(attempt)
    except OrcaError as error:
        return Asked(Failure(code=error.code, detail=error.detail), tuple(call.attempts))
    return Asked(answer, tuple(call.attempts))


class _Call:
    """One call and the record of its tries."""

    def __init__(
        self, provider: Provider, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images, clock: Clock
    ) -> None:
        self._provider = provider
        self._model = model
        self._request = request
        self._on_delta = on_delta
        self._images = images
        self._clock = clock
        self.attempts: list[Attempt] = []
        self.delivered = False

    async def once(self) -> Answer:
        started, begun = self._clock.now(), self._clock.monotonic()
        outcome = "answer"
        try:
            on_delta = None if self._on_delta is None else self._deliver
            return await self._provider.complete(self._model, self._request, on_delta, self._images)
        except OrcaError as error:
            outcome = error.code
            raise
        finally:
            self._record(started, begun, outcome)

    def _record(self, started: datetime, begun: float, outcome: str) -> None:
        elapsed = max(0, round((self._clock.monotonic() - begun) * 1000))
        self.attempts.append(Attempt.made_of({"started": stamp(started), "duration_ms": elapsed, "outcome": outcome}))

    def _deliver(self, piece: str) -> None:
        self.delivered = True
        if self._on_delta is not None:
            self._on_delta(piece)


def stamp(moment: datetime) -> str:
    """Return ``moment`` as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _error(state: RetryCallState) -> BaseException:
    failed = None if state.outcome is None else state.outcome.exception()
    if failed is None:
        raise RuntimeError("waiting after a try that did not fail")
    return failed
