from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from orca_agent.models.base import NO_IMAGES, Deltas, Images
from orca_agent.models.retry import Asked, Policy, SystemClock, ask, stamp
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.model import Answer, Failure, ModelRequest
from tests.fakes.scripted_model import ScriptedModel
from tests.unit.orca_agent.models.requests import asked

BEGIN = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


class FakeClock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds


class Halting(ScriptedModel):
    """Says a word, takes its time, and then does what is scripted."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        self._clock.elapsed += 0.125
        if on_delta is not None:
            on_delta("half ")
        return await super().complete(model, request, on_delta)


FULL = Policy(draw=lambda low, high: high)


async def tried(*errors: OrcaError, policy: Policy = FULL) -> tuple[Asked, FakeClock]:
    clock, provider = FakeClock(), ScriptedModel()
    provider.failures["A"] = list(errors)
    result = await ask(provider, "m", asked(), policy=policy, on_delta=None, on_restart=lambda: None, clock=clock)
    assert len(provider.calls) == len(result.attempts)
    return result, clock


def down(retry_after: float | None = None) -> UnavailableError:
    return UnavailableError("overloaded", "busy", retry_after=retry_after)


async def test_an_answer_needs_one_try() -> None:
    result, clock = await tried()
    assert isinstance(result.result, Answer)
    assert [attempt.document() for attempt in result.attempts] == [
        {"started": "2026-11-20T12:00:00.250Z", "duration_ms": 0, "outcome": "answer"}
    ]
    assert clock.slept == []


async def test_the_world_gets_another_chance_after_growing_pauses() -> None:
    result, clock = await tried(down(), down(), down())
    assert isinstance(result.result, Answer)
    assert [attempt.outcome for attempt in result.attempts] == ["overloaded", "overloaded", "overloaded", "answer"]
    assert [attempt.started for attempt in result.attempts][-1] == "2026-11-20T12:00:03.750Z"
    assert clock.slept == [0.5, 1.0, 2.0]


async def test_attempts_are_counted_and_then_it_is_a_failure() -> None:
    result, clock = await tried(*[down()] * 9)
    assert result.result == Failure(code="overloaded", detail="busy")
    assert len(result.attempts) == 4
    assert len(clock.slept) == 3


@pytest.mark.parametrize("error", [InvalidError("bad_request", "no"), LimitError("answer_too_large", "no")])
async def test_what_cannot_get_better_is_not_tried_again(error: OrcaError) -> None:
    result, _ = await tried(error)
    assert result.result == Failure(code=error.code, detail="no")
    assert len(result.attempts) == 1


async def test_what_waiting_cannot_install_is_not_tried_again() -> None:
    result, _ = await tried(UnavailableError("model_not_installed", "pip install it"))
    assert len(result.attempts) == 1


async def test_another_kind_of_error_on_the_way_ends_it() -> None:
    result, _ = await tried(down(), InvalidError("unauthorised", "key revoked"), down())
    assert result.result == Failure(code="unauthorised", detail="key revoked")
    assert [attempt.outcome for attempt in result.attempts] == ["overloaded", "unauthorised"]


async def test_the_servers_wish_is_honoured() -> None:
    _, clock = await tried(down(retry_after=7.0), policy=Policy(draw=lambda low, high: low))
    assert clock.slept == [7.0]


async def test_a_crowd_told_the_same_time_does_not_return_at_once() -> None:
    _, clock = await tried(down(retry_after=7.0))
    assert clock.slept == [7.5]


async def test_a_wish_beyond_patience_is_the_end() -> None:
    result, clock = await tried(down(retry_after=121.0))
    assert isinstance(result.result, Failure)
    assert clock.slept == []


async def test_one_attempt_means_one() -> None:
    result, _ = await tried(down(), policy=Policy(attempts=1))
    assert len(result.attempts) == 1


def test_pauses_never_exceed_the_cap() -> None:
    assert [FULL.wait(tried, down()) for tried in (1, 5, 7, 60)] == [0.5, 8.0, 30.0, 30.0]


def test_a_policy_without_attempts_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Policy(attempts=0)


async def test_a_listener_is_told_to_drop_what_a_failed_try_said() -> None:
    clock = FakeClock()
    provider = Halting(clock)
    provider.failures["A"] = [down(), down()]
    heard: list[str] = []
    result = await ask(
        provider, "m", asked(), policy=FULL, on_delta=heard.append, on_restart=lambda: heard.append("RESTART"), clock=clock
    )
    assert heard == ["half ", "RESTART", "half ", "RESTART", "half ", "out(A,1)"]
    assert [attempt.duration_ms for attempt in result.attempts] == [125, 125, 125]


async def test_no_restart_where_nothing_had_been_said() -> None:
    clock, provider = FakeClock(), ScriptedModel()
    provider.failures["A"] = [down()]
    heard: list[str] = []
    await ask(provider, "m", asked(), policy=FULL, on_delta=heard.append, on_restart=lambda: heard.append("RESTART"), clock=clock)
    assert heard == ["out(A,1)"]


async def test_cancellation_passes_through() -> None:
    provider = ScriptedModel()
    provider.latency["*"] = 3600.0
    call = asyncio.create_task(
        ask(provider, "m", asked(), policy=FULL, on_delta=None, on_restart=lambda: None, clock=SystemClock())
    )
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_mistake_of_our_own_is_not_a_failed_call() -> None:
    def broken(model: str, request: ModelRequest) -> str:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await ask(ScriptedModel(broken), "m", asked(), policy=FULL, on_delta=None, on_restart=lambda: None, clock=FakeClock())


def test_stamps_are_utc_with_milliseconds() -> None:
    assert stamp(BEGIN) == "2026-11-20T12:00:00.250Z"
    assert SystemClock().now().tzinfo is UTC
