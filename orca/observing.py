"""Switches on what a process is watched with, and loads nothing of what is switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from orca_agent.work.watching import Watchers

if TYPE_CHECKING:
    from orca.observe_settings import ObserveSettings
    from orca_agent.observe.metrics import Metrics
    from orca_agent.observe.tracing import Tracing


@contextmanager
def observing(settings: ObserveSettings, metrics: Metrics | None = None) -> Iterator[Watchers]:
    """Yield what to watch runs with; at the end of the block spans that wait are sent, for two seconds at most."""
    tracing = _tracing() if settings.is_tracing else None
    if metrics is not None and tracing is not None:
        metrics.count_dropped_spans(lambda: tracing.dropped)
    try:
        yield Watchers(metrics, tracing)
    finally:
        if tracing is not None:
            tracing.close()


def _tracing() -> Tracing:
    from orca_agent.observe.tracing import Tracing

    return Tracing(metadata.version("orca-node"))
