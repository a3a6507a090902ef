"""The stake check before any lease: fail-closed. A chain that cannot tell is 503, never a yes.

A good word of the chain is believed for a bounded time, a bad one not at all: a key that has just staked is let in at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cachetools import TTLCache

from middle_server.chain import Chain
from middle_server.rules.stakes import check_stake
from orca_protocol.errors import UnavailableError

_log = logging.getLogger(__name__)
T = TypeVar("T")
_KEYS_REMEMBERED = 10_000
_QUESTIONS_AT_ONCE = 16


class StakeGate:
    """Lets staked keys pass."""

    def __init__(
        self, chain: Chain, *, at_least: int, fresh_seconds: float, chain_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._chain = chain
        self._at_least = at_least
        self._seconds = chain_seconds
        self._good: TTLCache[tuple[str, str], bool] = TTLCache(_KEYS_REMEMBERED, fresh_seconds, timer=clock)
        self._turn = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

    async def check(self, task_id: str, key: str) -> None:
        """Return if ``key`` may work in the task.

        Raises InvalidError with a code of ``check_stake``, UnavailableError ``chain_unavailable`` or the chain's own.
        """
        if (task_id, key) in self._good:
            return
        stake = await self.ask(self._chain.stake(task_id, key))
        check_stake(stake, at_least=self._at_least)
        self._good[task_id, key] = True

    async def ask(self, question: Awaitable[T]) -> T:
        """Return the chain's answer. Raises UnavailableError ``chain_unavailable``: what its endpoints said is for the log only."""
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                return await question
        except TimeoutError as error:
            raise UnavailableError(
                "chain_unavailable", f"the chain did not answer within {self._seconds:g} s", retry_after=5.0
            ) from error
        except UnavailableError as error:
            _log.warning("the chain could not be read: %s", error)
            raise UnavailableError(
                "chain_unavailable", "the chain cannot be read at the moment; ask again", retry_after=error.retry_after
            ) from error
