"""Spans of runs, by OpenTelemetry's conventions for generative AI, over OTLP to a collector. No prompt and no answer is in them.

Run → agent → call. The trace's id is the run's, and a span's id follows from the run's id and the path, so a run that goes on in
another process goes on in the same trace, under the same parents. What is sent waits in a bounded queue, for a thread of its own;
what does not fit or does not arrive is dropped and counted, and no run waits for it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context

from orca_agent.observe.about import trace_id_of

#: spans that may wait to be sent
QUEUE_MOST: Final = 4096
_BATCH: Final = 512
_DELAY_MS: Final = 1000.0
_NANO: Final = 1_000_000_000
#: a text from a spec in a span's name or attribute is cut off here
_TEXT_MOST: Final = 200

Attributes = Mapping[str, str | int | float | bool | tuple[str, ...]]


class Tracing:
    """Sends spans to the collector that the standard ``OTEL_…`` variables name."""

    def __init__(self, version: str, exporter: SpanExporter | None = None) -> None:
        self._sending = _Sending(exporter or OTLPSpanExporter())
        self._batches = BatchSpanProcessor(
            self._sending, max_queue_size=QUEUE_MOST, schedule_delay_millis=_DELAY_MS, max_export_batch_size=_BATCH
        )
        self._ids = _Ids()
        resource = Resource.create({"service.name": "orca", "service.version": version})  # OTEL_SERVICE_NAME goes before
        provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(_Bounded(self._sending, self._batches))
        self._tracer = provider.get_tracer("orca", version)

    @property
    def dropped(self) -> int:
        """How many spans the collector did not get."""
        return self._sending.dropped

    def span(
        self,
        run_id: str,
        place: str,
        name: str,
        start: float,
        end: float,
        attributes: Attributes,
        *,
        parent: str | None = None,
        error: str | None = None,
        is_call: bool = False,
    ) -> None:
        """Record what happened at a ``place`` of a run between two times (Unix seconds), beneath the span of ``parent``.

        The place names the span: the same one gives the same span id in every process. ``error`` is a code, never a text.
        """
        trace = self._ids.trace = trace_id_of(run_id)
        self._ids.span = _span_id(run_id, place)
        above = None
        if parent is not None:
            context = SpanContext(trace, _span_id(run_id, parent), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            above = set_span_in_context(NonRecordingSpan(context))
        made = self._tracer.start_span(
            name[:_TEXT_MOST],
            context=above,
            kind=SpanKind.CLIENT if is_call else SpanKind.INTERNAL,
            attributes={key: value[:_TEXT_MOST] if isinstance(value, str) else value for key, value in attributes.items()},
            start_time=round(start * _NANO),
        )
        if error is not None:
            made.set_attribute("error.type", error)
            made.set_status(Status(StatusCode.ERROR))
        made.end(round(max(start, end) * _NANO))

    def close(self, seconds: float = 2.0) -> None:
        """Send what waits, for at most so long; a collector that does not answer keeps nobody."""
        closing = threading.Thread(target=self._batches.shutdown, name="spans closing", daemon=True)
        closing.start()
        closing.join(seconds)
        self._sending.shutdown()


class _Ids(IdGenerator):
    """Gives the ids that were set just before, in the one thread that makes spans."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Sending(SpanExporter):
    """Sends, and counts what waits and what was dropped."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lock = threading.Lock()
        self._waiting = 0
        self._is_closed = False
        self.dropped = 0

    def admit(self) -> bool:
        """Whether one more may wait; one that may not is dropped."""
        with self._lock:
            is_admitted = self._waiting < QUEUE_MOST and not self._is_closed
            self._waiting += is_admitted
            self.dropped += not is_admitted
        return is_admitted

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        with self._lock:
            self._waiting -= len(spans)
            self.dropped += len(spans) if result is not SpanExportResult.SUCCESS else 0
        return result

    def shutdown(self) -> None:
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._exporter.shutdown()


class _Bounded(SpanProcessor):
    """Hands on only what there is room for, so that what is dropped is counted."""

    def __init__(self, sending: _Sending, batches: BatchSpanProcessor) -> None:
        self._sending = sending
        self._batches = batches

    def on_end(self, span: ReadableSpan) -> None:
        if self._sending.admit():
            self._batches.on_end(span)

    def shutdown(self) -> None:
        """The owner closes the batches, with an end to its patience."""


def _span_id(run_id: str, place: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{run_id}\n{place}".encode()).digest()[:8]) or 1
