"""One gateway, asked for a CAR or for a block: within caps of size, time and pace, at an address that was judged beforehand.

What it does wrong is UnavailableError with a code that begins with ``gateway_`` and a detail that continues "this gateway …".
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, fields
from typing import Final

import httpx

from orca_protocol.errors import UnavailableError
from proof_store.car_stream import car_sections
from proof_store.cid import Cid
from proof_store.gateway_address import GatewayUrl

#: statuses by which a gateway says that it gives no such CAR, so that asking for blocks still makes sense
_NO_CAR: Final = frozenset({400, 405, 406, 413, 415, 501})
_CAR_TYPES: Final = ("application/vnd.ipld.car", "application/octet-stream")
_RAW_TYPES: Final = ("application/vnd.ipld.raw", "application/octet-stream", "")
_CAR_QUERY: Final = "format=car&dag-scope=all&car-version=1&car-order=dfs&car-dups=n"
_CAR_ACCEPT: Final = "application/vnd.ipld.car; version=1; order=dfs; dups=n"


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What reading from strangers' gateways may cost, beside the limits of the tree itself."""

    #: wall time of one fetch from all gateways together
    seconds: float = 60.0
    #: wall time that one gateway gets; at most half, so that one that dawdles cannot keep a second from being asked
    gateway_seconds: float = 25.0
    #: time to connect, and longest silence in an answer
    silence_seconds: float = 10.0
    #: bytes a second that an answer must keep up, once it has lasted for ``pace_after`` seconds
    pace_bytes: int = 16_384
    pace_after: float = 5.0
    #: blocks asked for at once where a gateway has no CAR
    parallel: int = 6
    #: the largest block that is received; beyond the limit of the tree it serves to prove by its hash that a block is too large
    largest_block: int = 4 * 1_048_576
    #: gateways of one list that are asked
    gateways: int = 16
    #: whether private, loopback and other non-public addresses may be asked: for a devnet only
    allow_private: bool = False

    def __post_init__(self) -> None:
        if any(getattr(self, each.name) <= 0 for each in fields(self) if each.name != "allow_private"):
            raise TypeError("every limit of a reader is more than nothing")
        if self.gateway_seconds * 2 > self.seconds:
            raise TypeError("gateway_seconds is at most half of seconds, or a second gateway may never be asked")


#: the code of a gateway that does not offer CARs, and may still have blocks
NO_CAR: Final = "gateway_no_car"


class GatewayPeer:
    """A gateway during one fetch. Used as an async context manager."""

    def __init__(self, url: GatewayUrl, addresses: list[str], settings: ReaderSettings, tls: ssl.SSLContext) -> None:
        self._url = url
        self._addresses = list(addresses[:3])
        self._settings = settings
        # A client of its own: a pooled connection is known by its address, and names that share one must not share it.
        # No proxies or credentials from the environment, no redirects: only the judged address is ever connected to.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.silence_seconds),
            limits=httpx.Limits(max_connections=settings.parallel),
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "orca-node", "Host": url.label},
        )

    async def __aenter__(self) -> GatewayPeer:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def car(self, root: Cid, max_bytes: int) -> AsyncGenerator[tuple[Cid, bytes], None]:
        """Yield sound blocks from this gateway's CAR of the tree ``root``, of which ``max_bytes`` are read.

        Raises UnavailableError ``gateway_…``, of which ``NO_CAR`` leaves blocks to be asked for.
        """
        async with self._asked(root, _CAR_QUERY, _CAR_ACCEPT) as response:
            media_type, _, parameters = response.headers.get("Content-Type", "").lower().partition(";")
            is_ok = response.status_code == 200
            is_car = media_type.strip() in _CAR_TYPES and "version=2" not in parameters.replace(" ", "")
            if response.status_code in _NO_CAR or (is_ok and not is_car):
                raise UnavailableError(NO_CAR, "does not offer CARs")
            _require_ok(response)
            async with (
                aclosing(self._body(response, max_bytes)) as chunks,
                aclosing(car_sections(chunks, block_bytes=self._settings.largest_block)) as sections,
            ):
                async for cid, block in sections:
                    yield cid, block

    async def block(self, cid: Cid) -> bytes:
        """Return one block, which is the one named. Raises UnavailableError ``gateway_…``."""
        async with self._asked(cid, "format=raw", "application/vnd.ipld.raw") as response:
            _require_ok(response)
            media_type = response.headers.get("Content-Type", "").lower().partition(";")[0].strip()
            if media_type not in _RAW_TYPES:
                raise UnavailableError("gateway_malformed", f"answered with {media_type[:60]!r} where a block was asked for")
            async with aclosing(self._body(response, self._settings.largest_block)) as chunks:
                block = b"".join([chunk async for chunk in chunks])
        if Cid.of(cid.codec, block) != cid:
            raise UnavailableError("gateway_lied", f"sent other bytes as {cid}")
        return block

    @asynccontextmanager
    async def _asked(self, cid: Cid, query: str, accept: str) -> AsyncIterator[httpx.Response]:
        try:
            response = await self._answered(f"{self._url.base}/ipfs/{cid}?{query}", accept)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx.TimeoutException as error:
            raise UnavailableError("gateway_slow", f"was silent for {self._settings.silence_seconds:g} s") from error
        except httpx.RemoteProtocolError as error:
            raise UnavailableError("gateway_truncated", f"broke off: {str(error)[:100]}") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise UnavailableError("gateway_failed", f"did not answer: {str(error)[:100] or type(error).__name__}") from error

    async def _answered(self, target: str, accept: str) -> httpx.Response:
        """Send the request to the first address that takes the connection."""
        while True:
            address = self._addresses[0]
            host = f"[{address}]" if ":" in address else address
            # The name stays in Host and in TLS, where the certificate is checked against it; only the connection is pinned.
            named = {"sni_hostname": self._url.host} if self._url.scheme == "https" and self._url.host != address else {}
            request = self._http.build_request(
                "GET", f"{self._url.scheme}://{host}:{self._url.port}{target}", headers={"Accept": accept}, extensions=named
            )
            request.extensions["timeout"] = self._http.timeout.as_dict()
            try:
                return await self._http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if len(self._addresses) == 1:
                    raise
                if self._addresses[0] == address:
                    self._addresses.pop(0)

    async def _body(self, response: httpx.Response, max_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes, unless it is too long or comes too slowly."""
        began, received = time.monotonic(), 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
            if received > max_bytes:
                raise UnavailableError("gateway_oversize", f"sent more than the {max_bytes} bytes that this can take")
            lasted = time.monotonic() - began
            if lasted > self._settings.pace_after and received < lasted * self._settings.pace_bytes:
                raise UnavailableError("gateway_slow", f"sent {received} bytes in {lasted:.0f} s")
            yield chunk


def _require_ok(response: httpx.Response) -> None:
    status = response.status_code
    if 300 <= status < 400:
        raise UnavailableError("gateway_redirect", f"answered with a redirect (HTTP {status}), which is not followed")
    if status in (404, 410):
        raise UnavailableError("gateway_absent", f"does not have it (HTTP {status})")
    if status != 200:
        raise UnavailableError("gateway_http", f"answered HTTP {status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnavailableError("gateway_malformed", "compressed its answer though identity was asked for")
