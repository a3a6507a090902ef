"""Spans on their way to a real collector on loopback, and to one that is not there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from orca_agent.observe.tracing import QUEUE_MOST, Tracing
from tests.fakes.collector import Collector, collector

RUN = "6a0f9a3e-3a53-4b0e-9d57-0c5a2b1d7e11"


@pytest.fixture
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


def tracing(url: str, seconds: float = 5.0) -> Tracing:
    return Tracing("1.2", OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=seconds))


def test_spans_arrive_beneath_their_parents_in_the_runs_own_trace(there: Collector) -> None:
    sending = tracing(there.url)
    sending.span(RUN, "call 1", "chat m", 10.0, 12.5, {"n": 3, "words": ("a", "b")}, parent="run", error="overloaded", is_call=True)
    sending.span(RUN, "run", "invoke_workflow X", 9.0, 13.0, {"orca.run.id": RUN})
    sending.close()
    call, run = there.spans
    assert (call.trace, run.trace) == (RUN.replace("-", ""),) * 2
    assert (call.parent, run.parent) == (run.id, "")
    assert (call.start, call.end, call.kind, call.is_error) == (10.0, 12.5, 3, True)
    assert call.attributes == {"n": 3, "words": ["a", "b"], "error.type": "overloaded"}
    assert (run.is_error, run.kind) == (False, 1)
    assert (there.resource["service.name"], there.resource["service.version"]) == ("orca", "1.2")
    assert sending.dropped == 0


def test_another_process_gives_the_same_place_the_same_id(there: Collector) -> None:
    for _ in range(2):
        sending = tracing(there.url)
        sending.span(RUN, "visit 1.0.0", "invoke_agent A", 1.0, 2.0, {}, parent="run")
        sending.close()
    first, second = there.spans
    assert (first.id, first.parent) == (second.id, second.parent)


def test_a_collector_that_is_down_holds_nobody_up_and_what_it_missed_is_counted() -> None:
    sending = tracing("http://127.0.0.1:1", seconds=1.0)
    began = time.monotonic()
    for number in range(QUEUE_MOST + 100):
        sending.span(RUN, f"call {number}", "chat m", 1.0, 2.0, {})
    assert time.monotonic() - began < 5.0
    assert sending.dropped >= 100
    began = time.monotonic()
    sending.close(0.2)
    assert time.monotonic() - began < 2.0
    sending.span(RUN, "late", "chat m", 1.0, 2.0, {})
    assert sending.dropped >= 101


def test_a_collector_that_refuses_is_counted(there: Collector) -> None:
    there.status = 400
    sending = tracing(there.url)
    sending.span(RUN, "run", "invoke_workflow X", 1.0, 2.0, {})
    sending.close()
    assert (there.spans, sending.dropped) == ([], 1)
