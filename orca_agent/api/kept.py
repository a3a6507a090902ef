"""Answers that are given again to who asks for that: each to the tenant it was made for, for the very same request.

In this process's memory, within a bound on bytes and on time; what was used least lately goes first. Only a full success is
kept. A kept answer says so: ``Age``, ``Cache-Status: orca; hit``, and the job id of the run that made it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache
from starlette.responses import Response

from orca_http.answers import Answer, respond
from orca_protocol.canonical import canonical
from orca_protocol.spec import SwarmSpec

#: what an entry costs beside its body
_OVERHEAD = 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    at: float


class KeptAnswers:
    """The answers of this process, of at most ``at_most`` bytes together, each for ``seconds``."""

    def __init__(
        self, at_most: int = 64 * 1024 * 1024, seconds: float = 3600.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._at_most = at_most
        self._kept: TTLCache[str, _Kept] = TTLCache(at_most, seconds, timer=clock, getsizeof=_size)

    def find(self, key: str) -> Response | None:
        """Return the kept answer to a request, if there is one."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        response = respond(kept.answer)
        response.headers["Age"] = str(int(self._clock() - kept.at))
        response.headers["Cache-Status"] = "orca; hit"
        return response

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer, unless it is larger than all together may be."""
        kept = _Kept(answer, self._clock())
        if _size(kept) <= self._at_most:
            self._kept[key] = kept


def request_key(owner: str | None, path: str, spec: SwarmSpec) -> str:
    """Return what an answer is kept under: whose it is, what was asked for, and every field of what was asked."""
    tenant = "operator" if owner is None else f"key {owner}"
    whole = canonical({"tenant": tenant, "path": path, "spec": spec.model_dump(mode="json")})
    return hashlib.sha256(whole).hexdigest()


def _size(kept: _Kept) -> int:
    return len(kept.answer.body) + _OVERHEAD
