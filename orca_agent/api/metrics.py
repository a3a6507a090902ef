"""``GET /metrics``, for the node's operator: loopback, as long as no key was issued, or whoever has a key with ``admin``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, Depends
from starlette.responses import Response

from orca_agent.api.access import Gate
from orca_agent.observe.metrics import CONTENT_TYPE, Metrics
from orca_agent.work.queue import RunQueue
from orca_agent.work.states import AWAITING, SCHEDULED
from orca_protocol.errors import UnavailableError

#: the longest that the database is waited for
_SECONDS = 3.0


def routes(metrics: Metrics, queue: RunQueue, gate: Gate, pins_waiting: Callable[[], int] = lambda: 0) -> APIRouter:
    """Return the router of this process's metrics; how the queue stands is asked when somebody reads."""
    router = APIRouter(tags=["health"], dependencies=[Depends(gate.needs("admin"))])

    async def read() -> Response:
        """Return the metrics of this process in Prometheus' text format."""
        try:
            async with asyncio.timeout(_SECONDS):
                depth, oldest = await queue.depth(), await queue.oldest_seconds()
        except TimeoutError as error:
            raise UnavailableError("queue_unavailable", "the database did not answer in time; try again") from error
        counts = {"queued": depth.queued, "running": depth.running, SCHEDULED: depth.scheduled, AWAITING: depth.awaiting}
        metrics.queue(counts, oldest)
        metrics.pins_waiting(pins_waiting())
        return Response(metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE})

    router.add_api_route("/metrics", read, methods=["GET"], response_class=Response)
    return router
