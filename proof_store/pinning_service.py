"""Trees pinned by somebody else's service, after the IPFS Pinning Service API (ipfs.github.io/pinning-services-api-spec).

Such a service fetches for itself: the request names the tree and where it can be had (``origins``, the addresses of this node's
Kubo), the service says ``queued`` or ``pinning`` until it has it, and only ``pinned`` counts. It is read back through the gateway
that its operator runs. One request stands for one tree: what was asked for before is found again by its CID.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from pydantic import SecretStr

from orca_http.local import is_loopback
from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.base import BlockStore, ReadBack
from proof_store.cid import Cid
from proof_store.limits import CarLimits
from proof_store.readback import DEFAULT_LIMITS, GatewayBlocks, capped, read_every_block

_SAID_BYTES: Final = 262_144
#: the specification's own ceiling for ``origins``
_ORIGINS_MAX: Final = 20
_ALL: Final = "queued,pinning,pinned,failed"
#: how long a service is left alone that says it is at it
_PATIENCE: Final = 15.0


def parse_service_url(text: str) -> str:
    """Return the endpoint of a pinning service. Raises InvalidError ``pinning_service_url``: its token must not go in clear."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or parts.query or parts.fragment or parts.username or parts.scheme not in ("http", "https"):
        raise InvalidError(
            "pinning_service_url", "a pinning service is https://host[:port][/path], without user, query or fragment"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidError("pinning_service_url", f"the token would go to {host} in clear: use https")
    return text.rstrip("/")


async def no_origins() -> list[str]:
    """Name no place: the service must find the tree by itself."""
    return []


class PinningService:
    """``PinStore`` at the service of ``url``; ``origins`` says where the service can fetch a tree from."""

    def __init__(
        self,
        url: str,
        token: SecretStr,
        *,
        gateway: str | None,
        origins: Callable[[], Awaitable[list[str]]] = no_origins,
        limits: CarLimits = DEFAULT_LIMITS,
    ) -> None:
        self.url = url.rstrip("/")
        self._origins = origins
        self._limits = limits
        self._gateway = None if gateway is None else GatewayBlocks(gateway, is_local=False)
        self._http = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {token.get_secret_value()}",
                "User-Agent": "orca-node",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            timeout=20.0,
            trust_env=False,
            follow_redirects=False,
        )

    async def pin(self, root: Cid, blocks: BlockStore) -> None:
        """See PinStore. Raises UnavailableError ``pin_pending`` while the service is at it, ``pin_failed``, ``service_…``."""
        found = await self._requests(root)
        if any(one["status"] == "pinned" for one in found):
            return
        waiting = [one for one in found if one["status"] in ("queued", "pinning")]
        if not waiting:
            for failed in found:
                await self._drop(failed["requestid"])
            waiting = [await self._request(root)]
        if waiting[0]["status"] == "failed":
            raise UnavailableError("pin_failed", f"{self._host} could not pin {root}{_why(waiting[0])}")
        if waiting[0]["status"] != "pinned":
            raise UnavailableError(
                "pin_pending", f"{self._host} has it {waiting[0]['status']}{_why(waiting[0])}", retry_after=_PATIENCE
            )

    async def unpin(self, roots: Sequence[Cid]) -> None:
        """See PinStore."""
        for root in roots:
            for one in await self._requests(root):
                await self._drop(one["requestid"])

    async def read_back(self, root: Cid) -> ReadBack:
        """See PinStore. Raises UnavailableError ``no_way_back`` where no gateway is named."""
        if not any(one["status"] == "pinned" for one in await self._requests(root)):
            raise UnavailableError("pin_gone", f"{self._host} does not say that it pins {root}")
        if self._gateway is None:
            raise UnavailableError("no_way_back", "name the service's gateway in ORCA_PINNING_SERVICE_GATEWAY, to read pins back")
        return await read_every_block(root, self._gateway.get, f"gateway {self._gateway.url}", self._limits)

    async def state(self) -> str:
        """See PinStore."""
        said = await self._asked("GET", "/pins?limit=1")
        way = "nothing: set ORCA_PINNING_SERVICE_GATEWAY" if self._gateway is None else self._gateway.url
        return f"{self._host} answers, {said.get('count')} pins there; read back by {way}"

    async def close(self) -> None:
        """See PinStore."""
        await self._http.aclose()
        if self._gateway is not None:
            await self._gateway.close()

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc

    async def _request(self, root: Cid) -> dict[str, Any]:
        wanted: dict[str, Any] = {"cid": str(root), "name": f"orca proof {root}"}
        if origins := (await self._origins())[:_ORIGINS_MAX]:
            wanted["origins"] = origins
        return _checked(await self._asked("POST", "/pins", wanted))

    async def _requests(self, root: Cid) -> list[dict[str, Any]]:
        results = (await self._asked("GET", f"/pins?cid={root}&status={quote(_ALL)}&limit=10")).get("results")
        if not isinstance(results, list):
            raise UnavailableError("service_unclear", f"{self._host} did not list its pins as the specification says")
        found = [_checked(one) for one in results]
        return [one for one in found if one["cid"] == str(root)]

    async def _drop(self, request: str) -> None:
        await self._asked("DELETE", f"/pins/{quote(request, safe='')}")

    async def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with self._http.stream(method, self.url + path, json=body) as answer:
                said = await capped(answer, _SAID_BYTES)
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError("service_silent", f"{self._host} does not answer: {type(error).__name__}") from error
        if method == "DELETE" and status in (200, 202, 404):
            return {}
        if status == 401:
            raise UnavailableError("service_forbidden", f"{self._host} does not take ORCA_PINNING_SERVICE_TOKEN")
        if status not in (200, 202):
            raise UnavailableError("service_refused", f"{self._host} answered HTTP {status}{_reason(said)}")
        found = _document(said)
        if found is None:
            raise UnavailableError("service_unclear", f"{self._host} did not answer with a document; is this a pinning service?")
        return found


def _checked(one: object) -> dict[str, Any]:
    """Return what matters of a ``PinStatus``. Raises UnavailableError ``service_unclear``."""
    if isinstance(one, dict) and isinstance(one.get("pin"), dict):
        found = {"requestid": one.get("requestid"), "status": one.get("status"), "cid": one["pin"].get("cid")}
        if all(isinstance(value, str) and len(value) <= 2_048 for value in found.values()):
            return found | {"info": one.get("info")}
    raise UnavailableError("service_unclear", "the pinning service described a pin otherwise than the specification says")


def _why(one: dict[str, Any]) -> str:
    info = one["info"]
    said = info.get("status_details") if isinstance(info, dict) else None
    return f": {' '.join(str(said).split())[:200]}" if said else ""


def _reason(said: bytes) -> str:
    error = (_document(said) or {}).get("error")
    return f": {' '.join(str(error.get('reason')).split())[:100]}" if isinstance(error, dict) else ""


def _document(said: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
