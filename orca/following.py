"""Follows a run or a work item over HTTP to its end, and on again after every interruption, telling everything once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from orca_agent.models.base import Caps
from orca_agent.models.sse import SseReader
from orca_agent.store.events import LAST
from orca_protocol.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from orca.client import Server

#: seconds before a stream that broke off is taken up again, and how often that is tried without an event in between
_AGAIN: Final = 0.5
_TRIES: Final = 20
#: a stream says that it is alive more often than this
_SILENCE: Final = 60.0
#: statuses of a work item after which nothing happens any more, and the seconds between two looks
_FINAL: Final = frozenset({"done", "unpaid", "failed", "cancelled"})
_LOOK: Final = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a run."""

    number: int
    kind: str
    body: dict[str, Any]


async def follow(http: httpx.AsyncClient, run_id: str) -> AsyncIterator[Told]:
    """Yield the run's events to the last one. ``http`` has the base URL and the credentials.

    Raises InvalidError for a refusal, UnavailableError ``stream_broken`` when the server stays away.
    """
    last, tries = 0, 0
    while True:
        why = "it ended early again and again"
        try:
            async for told in _once(http, run_id, last):
                last, tries = told.number, 0
                yield told
                if told.kind in LAST:
                    return
        except (httpx.HTTPError, UnavailableError) as error:
            why = type(error).__name__
        tries += 1
        if tries > _TRIES:
            raise UnavailableError("stream_broken", f"the events of run {run_id} broke off: {why}")
        await asyncio.sleep(_AGAIN)


async def _once(http: httpx.AsyncClient, run_id: str, after: int) -> AsyncIterator[Told]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    timeout = httpx.Timeout(10.0, read=_SILENCE)
    async with http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers, timeout=timeout) as response:
        if response.status_code >= 500 or response.status_code == 429:
            raise UnavailableError("stream_broken", f"HTTP {response.status_code}")
        if response.status_code != 200:
            raise InvalidError("run_unfollowed", f"the server does not show run {run_id}: HTTP {response.status_code}")
        reader = SseReader(Caps())
        async for chunk in response.aiter_raw():
            for event in reader.feed(chunk):
                yield _told(event.name, event.data)


def _told(kind: str, data: str) -> Told:
    try:
        body = json.loads(data)
        return Told(int(body["number"]), kind, body)
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError("stream_malformed", "the server sent an event that is none of a run's") from error


async def follow_item(server: Server, item: str) -> AsyncIterator[dict[str, Any]]:
    """Yield each status that a work item is seen in and each verdict on it, as ``event``, to its last status.

    Raises InvalidError for a refusal, UnavailableError ``stream_broken`` when the server stays away.
    """
    seen, told, tries = "", set[str](), 0
    while seen not in _FINAL:
        try:
            document, verdicts = await server.status(item), await server.verdicts(item)
        except UnavailableError as error:
            tries += 1
            if tries > _TRIES:
                raise UnavailableError("stream_broken", f"work item {item} cannot be followed: {error.detail}") from error
            await asyncio.sleep(_AGAIN)
            continue
        tries = 0
        if (now := str(document.get("status"))) != seen:
            yield {"event": "status", **document}
        for verdict in verdicts:
            if (which := f"{verdict.get('auditor')} {verdict.get('cid')}") not in told:
                told.add(which)
                yield {"event": "verdict", **{field: verdict.get(field) for field in ("auditor", "cid", "vote", "reason")}}
        seen = now
        if seen not in _FINAL:
            await asyncio.sleep(_LOOK)
