"""The recorder: order kept, text gathered, nothing in the run's way, and honest about what it could not write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from orca_agent.store.events import EventLog, NewEvent
from orca_agent.store.journal import Hold
from orca_agent.work import recorder as module
from orca_agent.work.events import CallFinished, CallRestarted, CallStarted, Delta, Event, ModelResolved, RunStarted
from orca_agent.work.recorder import Recorder
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError
from orca_protocol.journal import Path, Stop
from orca_protocol.model import Answer, Failure, ModelIdentity, Usage

A, B = Path(1, 0, 0), Path(1, 0, 1)
USAGE = Usage(input_tokens=1, output_tokens=2)
ANSWER = Answer(content="x", finish_reason="stop", model=ModelIdentity(provider="p", model="m"), usage=USAGE)


class Written(EventLog):
    """Keeps what is written; ``failures`` are raised first, one a write; ``delay`` is how long a write takes."""

    def __init__(self) -> None:
        self.batches: dict[int, list[NewEvent]] = {}
        self.failures: list[OrcaError] = []
        self.delay = 0.0

    async def append(self, hold: Hold, events: Sequence[NewEvent], *, batch: int) -> None:
        await asyncio.sleep(self.delay)
        if self.failures:
            raise self.failures.pop(0)
        self.batches[batch] = list(events)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, dict(event.body)) for batch in self.batches.values() for event in batch]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


@pytest.fixture
def log() -> Written:
    return Written()


async def record(log: Written, *events: Event) -> None:
    recorder = Recorder(log, Hold("r1", 1))
    for event in events:
        recorder(event)
    await recorder.close(5.0)


async def test_every_kind_of_event_says_what_its_readers_need(log: Written) -> None:
    await record(
        log,
        RunStarted("r1", 2, 1, 5.5),
        ModelResolved("gpt", "p", "m", alias=True),
        CallStarted(A, "A"),
        CallRestarted(A, "A"),
        CallFinished(A, "A", ANSWER, 0.1234),
        CallFinished(B, "B", Failure(code="overloaded", detail="busy"), 1.0),
        CallFinished(Path(1, 1, 0), "C", Stop(reason="cancelled"), 1.0),
    )
    finished = {"agent": "A", "seconds": 0.123, "outcome": "answer", "usage": {"input_tokens": 1, "output_tokens": 2}}
    assert log.events == [
        ("started", {"answered": 2, "lost": 1, "seconds_left": 5.5}),
        ("model_resolved", {"name": "gpt", "provider": "p", "model": "m", "alias": True}),
        ("call_started", {"path": "1.0.0.0.0", "agent": "A"}),
        ("call_restarted", {"path": "1.0.0.0.0", "agent": "A"}),
        ("call_finished", {"path": "1.0.0.0.0", **finished}),
        ("call_finished", {"path": "1.0.1.0.0", "agent": "B", "seconds": 1.0, "outcome": "error", "error": "overloaded"}),
        ("call_finished", {"path": "1.1.0.0.0", "agent": "C", "seconds": 1.0, "outcome": "stop", "stopped": "cancelled"}),
    ]


async def test_pieces_of_one_answer_that_come_together_are_one_event(log: Written) -> None:
    await record(log, CallStarted(A, "A"), CallStarted(B, "B"), *(Delta(path, "x", piece) for piece in "abc" for path in (A, B)))
    assert [(kind, body.get("text")) for kind, body in log.events if kind == "delta"] == [("delta", "abc"), ("delta", "abc")]


async def test_text_never_moves_across_another_event_of_its_call(log: Written) -> None:
    await record(log, Delta(A, "A", "one"), CallRestarted(A, "A"), Delta(A, "A", "two"), CallFinished(A, "A", ANSWER, 1.0))
    assert log.kinds == ["delta", "call_restarted", "delta", "call_finished"]
    assert [body["text"] for kind, body in log.events if kind == "delta"] == ["one", "two"]


async def test_long_text_is_written_in_pieces_while_it_comes(log: Written) -> None:
    recorder = Recorder(log, Hold("r1", 1))
    for _ in range(50):
        recorder(Delta(A, "A", "x" * 100))
    await asyncio.sleep(0.02)
    assert log.kinds == ["delta", "delta", "delta"]
    assert [len(body["text"]) for _, body in log.events] == [2100, 2100, 800]
    await recorder.close(1.0)


async def test_a_moment_passes_before_text_is_written_and_none_before_the_rest(log: Written) -> None:
    recorder = Recorder(log, Hold("r1", 1))
    recorder(Delta(A, "A", "a"))
    await asyncio.sleep(0.02)
    assert log.kinds == []
    recorder(Delta(A, "A", "b"))
    await asyncio.sleep(0.15)
    assert log.events == [("delta", {"path": str(A), "agent": "A", "text": "ab"})]
    recorder(CallStarted(B, "B"))
    await asyncio.sleep(0.02)
    assert log.kinds == ["delta", "call_started"]
    await recorder.close(1.0)


async def test_text_that_comes_while_a_batch_is_written_is_not_lost(log: Written) -> None:
    log.delay = 0.02
    recorder = Recorder(log, Hold("r1", 1))
    for number in range(100):
        recorder(Delta(A, "A", f"{number} "))
        await asyncio.sleep(0.003)
    await recorder.close(5.0)
    assert "".join(body["text"] for _, body in log.events) == "".join(f"{number} " for number in range(100))
    assert 1 < len(log.events) < 10


async def test_a_database_that_is_away_for_a_moment_loses_nothing(log: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    log.failures = [UnavailableError("events_unavailable", "away")] * 3
    await record(log, CallStarted(A, "A"), CallFinished(A, "A", ANSWER, 1.0))
    assert log.kinds == ["call_started", "call_finished"]
    assert list(log.batches) == [1], "a batch keeps its number, so that it is not written twice"


async def test_a_database_that_stays_away_holds_nobody_up(log: Written, caplog: pytest.LogCaptureFixture) -> None:
    log.failures = [UnavailableError("events_unavailable", "away")] * 99
    recorder = Recorder(log, Hold("r1", 1))
    recorder(CallStarted(A, "A"))
    await recorder.close(0.05)
    assert "1 events of run r1 were not written" in caplog.text


async def test_text_beyond_the_bound_is_left_out_and_the_call_says_so(log: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING_CHARACTERS", 100)
    text = [Delta(A, "A", "x" * 90), Delta(A, "A", "y" * 20), Delta(A, "A", "z"), Delta(B, "B", "b")]
    await record(
        log, CallStarted(A, "A"), CallStarted(B, "B"), *text, CallFinished(A, "A", ANSWER, 1.0), CallFinished(B, "B", ANSWER, 1.0)
    )
    assert [body["text"] for kind, body in log.events if kind == "delta"] == ["x" * 90, "b"]
    said = {body["agent"]: body.get("text_left_out", False) for kind, body in log.events if kind == "call_finished"}
    assert said == {"A": True, "B": False}


async def test_who_lost_the_run_stops_telling(log: Written, caplog: pytest.LogCaptureFixture) -> None:
    log.failures = [InvalidError("run_taken_over", "it is another's")]
    recorder = Recorder(log, Hold("r1", 1))
    recorder(CallStarted(A, "A"))
    await asyncio.sleep(0.02)
    recorder(CallStarted(B, "B"))
    await recorder.close(1.0)
    assert log.kinds == []
    assert "it is another's" in caplog.text


async def test_a_mistake_of_ours_ends_the_telling_and_nothing_else(log: Written, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    log.append = None  # type: ignore[assignment, method-assign]
    await record(log, CallStarted(A, "A"))
    assert "events of run r1" in caplog.text
