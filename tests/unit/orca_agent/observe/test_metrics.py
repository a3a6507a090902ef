"""The series: what moves them, and that strangers cannot make them many."""

from __future__ import annotations

import asyncio
import time

from prometheus_client.parser import text_string_to_metric_families

from orca_agent.observe.metrics import Metrics, watch_loop


def series(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, read back by Prometheus' own parser."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[name, tuple(sorted(labels.items()))]


MODEL = ("openai", "gpt")
OF_MODEL = {"provider": "openai", "model": "gpt"}


def test_every_function_moves_its_series() -> None:
    metrics = Metrics()
    metrics.routed(MODEL, alias=True)
    metrics.call_ended(MODEL, "answer", 0.2)
    metrics.tokens(MODEL, 10, 3)
    metrics.cost(MODEL, 0.25)
    metrics.first_token(MODEL, 0.1)
    metrics.journaled(0.002)
    metrics.call_restarted()
    metrics.run_taken(answered=2, lost=3)
    metrics.run_ended("partial")
    for status in (200, 429):
        metrics.request_answered(status)
    metrics.queue({"queued": 4, "running": 2, "scheduled": 1}, 7.5)
    metrics.pins_waiting(6)
    metrics.loop_late(0.003)
    metrics.count_dropped_spans(lambda: 9)
    wanted = {
        ("router_route_count", (*OF_MODEL.items(), ("alias", "true"))): 1,
        ("orca_calls_total", (*OF_MODEL.items(), ("outcome", "answer"))): 1,
        ("orca_tokens_total", (*OF_MODEL.items(), ("direction", "input"))): 10,
        ("orca_tokens_total", (*OF_MODEL.items(), ("direction", "output"))): 3,
        ("orca_cost_usd_total", tuple(OF_MODEL.items())): 0.25,
        ("orca_call_seconds_sum", tuple(OF_MODEL.items())): 0.2,
        ("orca_first_token_seconds_count", tuple(OF_MODEL.items())): 1,
        ("orca_journal_lag_seconds_sum", ()): 0.002,
        ("orca_call_restarts_total", ()): 1,
        ("orca_calls_lost_total", ()): 3,
        ("orca_runs_resumed_total", ()): 1,
        ("orca_runs_ended_total", (("status", "partial"),)): 1,
        ("orca_requests_limited_total", ()): 1,
        ("orca_runs", (("status", "queued"),)): 4,
        ("orca_runs", (("status", "running"),)): 2,
        ("orca_queue_oldest_seconds", ()): 7.5,
        ("orca_pins_waiting", ()): 6,
        ("orca_event_loop_lag_seconds_sum", ()): 0.003,
        ("orca_spans_dropped", ()): 9,
    }
    found = series(metrics)
    assert {name: found[name[0], tuple(sorted(name[1]))] for name in wanted} == wanted


def test_a_run_that_begins_is_none_that_was_resumed() -> None:
    metrics = Metrics()
    metrics.run_taken(answered=0, lost=0)
    assert value(metrics, "orca_runs_resumed_total") == 0


def test_ever_new_models_are_others_from_some_number_on() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.routed(("hosted", f"model-{number}"), alias=False)
        metrics.call_ended(("hosted", f"model-{number}"), "error", 1.0)
    names = {labels for name, labels in series(metrics) if name == "orca_calls_total"}
    assert len(names) == 201
    assert value(metrics, "orca_calls_total", provider="other", model="other", outcome="error") == 800
    assert value(metrics, "orca_calls_total", provider="hosted", model="model-0", outcome="error") == 1


async def test_a_loop_that_was_blocked_is_seen_to_be_late() -> None:
    metrics = Metrics()
    watching = asyncio.create_task(watch_loop(metrics))
    await asyncio.sleep(0.6)
    time.sleep(0.6)  # noqa: ASYNC251 - the mistake that this measures
    await asyncio.sleep(0.05)
    watching.cancel()
    assert value(metrics, "orca_event_loop_lag_seconds_sum") > 0.1
