"""What is counted and measured in this process, in Prometheus' text format. Each process serves its own.

Names that strangers choose are no labels: a model stands by the name that a provider of this node listed, and only so many of them
are told apart; the rest is ``other``. So no spec makes the series more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Literal

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics", "Model", "watch_loop"]

#: pairs of provider and model that are told apart
_MODELS_MOST: Final = 200
_OTHER: Final = ("other", "other")
_CALL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_JOURNAL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_LOOP_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
#: how often the event loop is asked whether it is late
_LOOK_EVERY: Final = 1.0

#: provider, and the name by which it knows the model
Model = tuple[str, str]


class Metrics:
    """The series of one process, and the functions by which they move."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        of_model = ("provider", "model")
        # The name is the field's, without the suffix that the library gives to its counters; it only rises all the same.
        self._routes = Gauge(
            "router_route_count", "calls that the registry sent to a provider's model", (*of_model, "alias"), registry=registry
        )
        self._calls = Counter("orca_calls", "model calls that ended, by outcome", (*of_model, "outcome"), registry=registry)
        self._tokens = Counter("orca_tokens", "tokens as providers counted them", (*of_model, "direction"), registry=registry)
        self._cost = Counter("orca_cost_usd", "cost of calls whose price is known", of_model, registry=registry)
        self._seconds = Histogram(
            "orca_call_seconds", "from asking to the durable entry", of_model, buckets=_CALL_SECONDS, registry=registry
        )
        self._tools = Histogram(
            "orca_tool_seconds", "from asking a tool to its result", ("outcome",), buckets=_CALL_SECONDS, registry=registry
        )
        self._first = Histogram(
            "orca_first_token_seconds", "from asking to the first text", of_model, buckets=_CALL_SECONDS, registry=registry
        )
        self._journal = Histogram(
            "orca_journal_lag_seconds", "from an answer to its durable entry", buckets=_JOURNAL_SECONDS, registry=registry
        )
        self._call_restarts = Counter("orca_call_restarts", "calls made again after text had arrived", registry=registry)
        self._lost = Counter("orca_calls_lost", "calls under way when a process ended, which are asked again", registry=registry)
        self._resumed = Counter("orca_runs_resumed", "runs taken up with answers in their journal", registry=registry)
        self._ended = Counter("orca_runs_ended", "runs that this process brought to their end", ("status",), registry=registry)
        self._limited = Counter("orca_requests_limited", "HTTP requests answered 429", registry=registry)
        self._loop = Histogram("orca_event_loop_lag_seconds", "how late a timer was", buckets=_LOOP_SECONDS, registry=registry)
        self._runs = Gauge("orca_runs", "runs of the database that have not ended", ("status",), registry=registry)
        self._oldest = Gauge("orca_queue_oldest_seconds", "how long the oldest queued run waits; 0: none does", registry=registry)
        self._pins = Gauge("orca_pins_waiting", "proofs that are wanted in a store and not kept there yet", registry=registry)
        self._dropped: Callable[[], int] = lambda: 0
        dropped = Gauge("orca_spans_dropped", "spans that the collector did not get", registry=registry)
        dropped.set_function(lambda: float(self._dropped()))
        self._known: set[Model] = set()

    def routed(self, model: Model, *, alias: bool) -> None:
        """A call goes to a provider's model."""
        self._routes.labels(*self._bounded(model), str(alias).lower()).inc()

    def call_ended(self, model: Model, outcome: Literal["answer", "error", "stop"], seconds: float) -> None:
        """A call's entry is durable."""
        bounded = self._bounded(model)
        self._calls.labels(*bounded, outcome).inc()
        self._seconds.labels(*bounded).observe(seconds)

    def tokens(self, model: Model, given: int, made: int) -> None:
        """A provider said what an answer took."""
        bounded = self._bounded(model)
        self._tokens.labels(*bounded, "input").inc(given)
        self._tokens.labels(*bounded, "output").inc(made)

    def cost(self, model: Model, usd: float) -> None:
        """An answer's price is known."""
        self._cost.labels(*self._bounded(model)).inc(usd)

    def tool_ended(self, outcome: Literal["answer", "error"], seconds: float) -> None:
        """A tool was called; its name, which a spec chooses, is no label."""
        self._tools.labels(outcome).observe(seconds)

    def first_token(self, model: Model, seconds: float) -> None:
        """The first text of an answer is here."""
        self._first.labels(*self._bounded(model)).observe(seconds)

    def journaled(self, seconds: float) -> None:
        """An answer is durable."""
        self._journal.observe(seconds)

    def call_restarted(self) -> None:
        """A call is made again, and its text so far is void."""
        self._call_restarts.inc()

    def run_taken(self, *, answered: int, lost: int) -> None:
        """A run begins, or goes on with what is in its journal."""
        self._lost.inc(lost)
        if answered or lost:
            self._resumed.inc()

    def run_ended(self, status: str) -> None:
        """A run has its output, or has ``failed`` to get one."""
        self._ended.labels(status).inc()

    def request_answered(self, status: int) -> None:
        """An HTTP request was answered."""
        if status == 429:
            self._limited.inc()

    def queue(self, unfinished: Mapping[str, int], oldest: float) -> None:
        """How the queue stands, by its database: runs by status, and how long the oldest queued one waits."""
        for status, count in unfinished.items():
            self._runs.labels(status).set(count)
        self._oldest.set(oldest)

    def pins_waiting(self, count: int) -> None:
        """How many pins are wanted and not kept yet."""
        self._pins.set(count)

    def loop_late(self, seconds: float) -> None:
        """A timer of the event loop was so late."""
        self._loop.observe(seconds)

    def count_dropped_spans(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many spans were dropped, whenever somebody reads."""
        self._dropped = count

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)

    def _bounded(self, model: Model) -> Model:
        if model in self._known:
            return model
        if len(self._known) >= _MODELS_MOST:
            return _OTHER
        self._known.add(model)
        return model


async def watch_loop(metrics: Metrics) -> None:
    """Measure until cancelled how late this event loop is."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _LOOK_EVERY
        await asyncio.sleep(_LOOK_EVERY)
        metrics.loop_late(max(0.0, clock() - due))
