"""A whole tree read back from where it is said to be kept, block after block, each hashed; nothing of it is kept here.

That is what makes a pin more than a store's word. Memory holds one block and the names of those that wait, whatever the size
of the tree. ``GatewayBlocks`` is the other way to a store that has a gateway; the operator names it, so its address is not
judged as a stranger's is (``gateway_address``), and it cannot lie anyway: only fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store.base import ReadBack, checked
from proof_store.car import MAX_PENDING, links_of
from proof_store.cid import Cid
from proof_store.limits import CarLimits

#: returns a block's bytes, or raises the OrcaError family
GetBlock = Callable[[Cid], Awaitable[bytes]]

DEFAULT_LIMITS: Final = CarLimits(total_bytes=2 * 1024**3)
#: blocks asked for at once
_PARALLEL: Final = 8
_PROBE: Final = "bafkqaaa"


async def read_every_block(root: Cid, get: GetBlock, path: str, limits: CarLimits = DEFAULT_LIMITS) -> ReadBack:
    """Read the tree below ``root`` through ``get``.

    Raises UnavailableError ``pin_gone`` for a block that is not what its name says, what ``get`` raises, and LimitError
    ``car_bytes``, ``car_blocks`` or ``car_links``.
    """
    pending, seen, count, size = [root], {root}, 0, 0
    while pending:
        asked = [pending.pop() for _ in range(min(_PARALLEL, len(pending)))]
        for cid, block in zip(asked, await _all(get, asked), strict=True):
            count, size = count + 1, size + len(block)
            if count > limits.blocks or size > limits.total_bytes:
                code = "car_blocks" if count > limits.blocks else "car_bytes"
                raise LimitError(code, f"the tree has more than {limits.blocks} blocks or {limits.total_bytes} bytes")
            pending.extend(_new_links(cid, block, seen, limits))
        if len(pending) > MAX_PENDING:
            raise LimitError("car_links", f"more than {MAX_PENDING} links wait to be followed below {root}")
    return ReadBack(count, size, path)


async def _all(get: GetBlock, cids: list[Cid]) -> list[bytes]:
    found: list[bytes] = []
    for answer in await asyncio.gather(*map(get, cids), return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        found.append(answer)
    return found


def _new_links(cid: Cid, block: bytes, seen: set[Cid], limits: CarLimits) -> list[Cid]:
    try:
        links = links_of(cid, checked(cid, block, max_bytes=limits.block_bytes))
    except InvalidError as error:
        raise UnavailableError("pin_gone", f"what is kept as {cid} is not it: {error.detail}") from error
    found = [link for link in reversed(links) if link not in seen]
    seen.update(found)
    return found


class GatewayBlocks:
    """Blocks through a gateway that the operator named. ``is_local`` asks it not to look elsewhere for what it lacks."""

    def __init__(self, url: str, *, is_local: bool, seconds: float = 20.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept": "application/vnd.ipld.raw", "Accept-Encoding": "identity", "User-Agent": "orca-node"}
        if is_local:
            headers["Cache-Control"] = "only-if-cached"
        self._http = httpx.AsyncClient(timeout=seconds, headers=headers, trust_env=False, follow_redirects=False)

    async def get(self, cid: Cid) -> bytes:
        """Return a block. Raises UnavailableError ``pin_gone`` where the gateway says that it is not there, ``gateway_failed``."""
        try:
            async with self._http.stream("GET", f"{self.url}/ipfs/{cid}?format=raw") as answer:
                if answer.status_code in (404, 410, 412):
                    raise UnavailableError("pin_gone", f"{self.url} does not have {cid} (HTTP {answer.status_code})")
                if answer.status_code != 200:
                    raise UnavailableError("gateway_failed", f"{self.url} answered HTTP {answer.status_code} for {cid}")
                return await capped(answer, DEFAULT_LIMITS.block_bytes)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("gateway_failed", f"{self.url} does not answer: {type(error).__name__}") from error

    async def answers(self) -> bool:
        """Return whether there is a gateway: each has the block of no bytes, which is in its own name."""
        try:
            return (await self._http.get(f"{self.url}/ipfs/{_PROBE}?format=raw")).status_code == 200
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    async def close(self) -> None:
        """Give connections back."""
        await self._http.aclose()


async def capped(answer: httpx.Response, max_bytes: int) -> bytes:
    """Return a body of at most ``max_bytes``. Raises UnavailableError ``answer_oversize``."""
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise UnavailableError("answer_oversize", f"the answer of {answer.url.host} has more than {max_bytes} bytes")
    return bytes(body)
