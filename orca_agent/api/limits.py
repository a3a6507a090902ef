"""How the caller stands: ``GET /v1/rate/limits``, in the shape of the Swarms API, with what a key has here beside it.

That API's windows by the hour and its tiers are none of ours: ``hour`` is null. What is not limited is null too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from orca_agent.api.access import caller_of
from orca_agent.api.documents import rfc3339
from orca_agent.api.rates import Window
from orca_agent.api.services import Services
from orca_agent.store.keys import ApiKey, Usage
from orca_agent.store.ledger import Amounts
from orca_agent.work.ceilings import day_of
from orca_http.answers import json_answer, respond
from orca_protocol.spec import MAX_TOKENS


def routes(services: Services) -> APIRouter:
    """Return the router of ``/v1/rate/limits``."""
    router = APIRouter(prefix="/v1", tags=["limits"])

    async def limits(request: Request) -> Response:
        """Say how often the caller may ask, how many runs it may have, and what it may use of a day."""
        now, key = time.time(), caller_of(request).key
        if key is None:
            return respond(json_answer(200, _document(now, {}, None)))
        windows: dict[str, Window] = {window.per: window for window in await services.gate.windows(key)}
        usage = await services.keys.usage(key.id, day_of(now))
        return respond(json_answer(200, {**_document(now, windows, key), **_shares(key, usage, now)}))

    router.add_api_route("/rate/limits", limits, methods=["GET"], response_class=Response)
    return router


def _document(now: float, windows: Mapping[str, Window], key: ApiKey | None) -> dict[str, Any]:
    """Return the document as the Swarms API has it."""
    return {
        "success": True,
        "rate_limits": {per: _window(windows.get(per)) for per in ("minute", "hour", "day")},
        "limits": {
            "maximum_requests_per_minute": None if key is None else key.per_minute,
            "maximum_requests_per_hour": None,
            "maximum_requests_per_day": None if key is None else key.per_day,
            "tokens_per_agent": MAX_TOKENS,
        },
        "timestamp": rfc3339(now),
    }


def _window(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "count": window.limit - window.remaining,
        "limit": window.limit,
        "exceeded": window.remaining == 0,
        "remaining": window.remaining,
        "reset_time": rfc3339(window.reset),
    }


def _shares(key: ApiKey, usage: Usage, now: float) -> dict[str, Any]:
    """Return what a key has here beside its windows: runs at a time, and a budget by the day."""
    parts = (key.daily, usage.taken.spent, usage.taken.reserved)
    limits, spent, reserved = (_amounts(part) for part in parts)
    return {
        "concurrent_runs": {"count": usage.unfinished, "limit": key.concurrent},
        "day_budget": {
            "day": str(day_of(now)),
            **{axis: {"limit": limits[axis], "spent": spent[axis], "reserved": reserved[axis]} for axis in limits},
        },
    }


def _amounts(amounts: Amounts) -> dict[str, int | str | None]:
    """Return amounts as JSON carries them: money as a decimal string."""
    return {name: value if value is None or isinstance(value, int) else f"{value:f}" for name, value in asdict(amounts).items()}
