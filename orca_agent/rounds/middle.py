"""The middle server, as a node asks it: signed, bounded, and asked again with the same bytes until they expire.

The same nonce with the same bytes gets the stored answer, so a reply that was lost on the way is not lost.
Errors keep the server's own codes: InvalidError for a refusal, UnavailableError where it did not answer or could not tell.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from orca_agent.rounds.settings import Identity
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.documents import describe
from orca_protocol.envelope import seal
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from orca_protocol.lease import CheckName
from orca_protocol.requests import LIFE_MAX

#: a spec of 4 MiB as JSON text, and the lease beside it
ANSWER_MAX_BYTES = 12 * 1024 * 1024
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
T = TypeVar("T", bound=BaseModel)


class _Said(BaseModel):
    """Base of what the server says: what is not known here is passed over, so that it may say more one day."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Todo(_Said):
    """A leased work item, as it came: nothing in it is believed before the lease's signature was checked."""

    id: Annotated[str, Field(max_length=200)]
    leaseId: Annotated[str, Field(max_length=64)]  # noqa: N815 - the wire's own spelling, here and below
    fencingToken: Annotated[str, Field(max_length=20)]  # noqa: N815
    heartbeatSeconds: Annotated[int, Field(ge=1)]  # noqa: N815
    lease: str
    spec: str


class _Fetched(_Said):
    data: Todo


class Result(_Said):
    """A result that stands in a round."""

    work_item: str
    worker: str
    cid: str
    required_checks: list[CheckName]
    outcome: str | None = None


class _Round(_Said):
    results: list[Result]


class Peer(_Said):
    """A node that was heard."""

    staking_key: str
    gateway: str | None = None


class _Peers(_Said):
    nodes: list[Peer]


class LeaseNow(_Said):
    """The lease of an item that counts by now, and what was reported under it."""

    fencing_token: str
    cid: str | None = None
    round: int | None = None


class MiddleReader:
    """Reads what a middle server shows to everybody. One client for many questions; close it."""

    def __init__(self, url: str, task_id: str, *, seconds: float = 20.0, patience: float = 10.0) -> None:
        """``seconds`` bounds one question, ``patience`` how long it is asked again. Raises InvalidError ``bad_url``."""
        self._base = url.rstrip("/")
        self._audience = _audience(url)
        self._task_id = task_id
        self._seconds = seconds
        self._patience = patience
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
            trust_env=False,
            follow_redirects=False,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "orca-node"},
        )

    async def results(self, number: int) -> list[Result]:
        """Return the results that stand in a round."""
        answer = await self._asked("GET", f"/v1/rounds/{number}?task_id={self._task_id}")
        return _read(_Round, answer, "/v1/rounds").results

    async def peers(self) -> dict[str, str]:
        """Return the gateways of the nodes that were heard, by staking key."""
        answer = await self._asked("GET", f"/v1/nodes?task_id={self._task_id}")
        return {peer.staking_key: peer.gateway for peer in _read(_Peers, answer, "/v1/nodes").nodes if peer.gateway}

    async def lease_now(self, work_item: str) -> LeaseNow:
        """Return the lease of the item that counts by now."""
        if not re.fullmatch(r"[0-9a-f-]{1,64}", work_item):
            raise InvalidError("work_item_unknown", "no middle server gives an item such an id")
        return _read(LeaseNow, await self._asked("GET", f"/v1/leases/{work_item}"), "/v1/leases")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _asked(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Ask, and ask again with the same bytes while the server does not answer."""
        wait = wait_exponential(multiplier=0.2, max=3.0) + wait_random(0, 0.2)
        stop = stop_after_delay(self._patience)
        async for attempt in AsyncRetrying(wait=wait, stop=stop, retry=retry_if_exception_type(UnavailableError), reraise=True):
            with attempt:
                return await self._once(method, path, body)
        raise RuntimeError("retrying ended without an outcome")

    async def _once(self, method: str, path: str, body: bytes | None) -> Any:
        try:
            async with asyncio.timeout(self._seconds), self._http.stream(method, self._base + path, content=body) as response:
                data = await _body(response)
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            said = str(error)[:200] or type(error).__name__
            raise UnavailableError("middle_server_unavailable", f"the middle server did not answer {path}: {said}") from error
        if 300 <= response.status_code < 400:
            raise UnavailableError("middle_server_moved", f"the middle server answered {path} with a redirect; nobody follows it")
        document = _parsed(data, response.status_code)
        if response.status_code >= 400:
            raise _refusal(response, document)
        return document


class MiddleClient(MiddleReader):
    """Asks a middle server for one node of one task as well."""

    def __init__(
        self,
        url: str,
        task_id: str,
        identity: Identity,
        *,
        seconds: float = 20.0,
        patience: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(url, task_id, seconds=seconds, patience=patience)
        self._identity = identity
        self._clock = clock

    async def fetch_todo(self, claim_id: str) -> Todo:
        """Return the lease of this claim. Raises InvalidError ``nothing_available``, ``lease_ended`` and others."""
        answer = await self._signed("fetch-todo", claimId=claim_id, pubKey=self._identity.account)
        return _read(_Fetched, answer, "fetch-todo").data

    async def beat(self, todo: Todo, gateway: str) -> None:
        """Keep a lease. Raises InvalidError ``lease_ended``, ``lease_expired``, ``fencing_token_stale`` when it is lost."""
        await self._signed("heartbeat", gateway=gateway, **_lease(todo))

    async def announce(self, gateway: str) -> None:
        """Say that this node is there and where its proofs are."""
        await self._signed("heartbeat", gateway=gateway)

    async def give_back(self, todo: Todo, reason: str) -> None:
        """Let others have the item."""
        await self._signed("add-todo-status", error=reason[:4000], **_lease(todo))

    async def report(self, todo: Todo, cid: str) -> None:
        """Report the proof of the leased item."""
        await self._signed("add-todo-pr", prUrl=cid, **_lease(todo))

    async def enter_round(self, todo: Todo, number: int) -> None:
        """Say in which round's submission the proof will stand."""
        await self._signed("add-round-number", roundNumber=number, **_lease(todo))

    async def settle(self, number: int) -> None:
        """Have the server take over what the chain paid out. Raises InvalidError ``distribution_absent`` before that."""
        await self._signed("update-audit-result", roundNumber=number)

    async def publish(self, verdict: bytes) -> None:
        """Publish a signed verdict; the same one again is no error."""
        await self._asked("POST", "/v1/verdicts", verdict)

    async def _signed(self, action: str, **fields: Any) -> Any:
        path = f"/summarizer/worker/{action}"
        now = int(self._clock())
        payload = {
            "taskId": self._task_id,
            "action": action,
            "stakingKey": self._identity.key,
            "aud": self._audience + path,
            "nonce": secrets.token_hex(16),
            "iat": now,
            "exp": now + LIFE_MAX,
            **fields,
        }
        body = canonical({"signature": seal(payload, self._identity.staking), "stakingKey": self._identity.key})
        return await self._asked("POST", path, body)


def _audience(url: str) -> str:
    """Return what a node signs for at ``url``."""
    with suppress(ValueError):  # of a port or an IPv6 address that is none
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if is_address and not ("@" in parts.netloc or parts.query or parts.fragment):
            return parts.netloc + parts.path.rstrip("/")
    raise InvalidError("bad_url", "MIDDLE_SERVER_URL is http(s)://host[:port], without user, query or fragment")


def _lease(todo: Todo) -> dict[str, str]:
    return {"swarmBountyId": todo.id, "leaseId": todo.leaseId, "fencingToken": todo.fencingToken}


async def _body(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > ANSWER_MAX_BYTES:
            raise LimitError("answer_oversize", f"the middle server sent more than {ANSWER_MAX_BYTES} bytes; it was cut off")
    return bytes(data)


def _parsed(data: bytes, status: int) -> Any:
    try:
        return parse_json(data, max_bytes=ANSWER_MAX_BYTES, where="the middle server's answer")
    except InvalidError as error:
        raise UnavailableError("middle_server_unavailable", f"the middle server answered {status} without JSON") from error


def _refusal(response: httpx.Response, document: Any) -> OrcaError:
    """Return what the server's problem document says; its words are quoted, bounded and in one line."""
    said = document if isinstance(document, dict) else {}
    code = said.get("code")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else "middle_server_refused"
    detail = " ".join(str(said.get("detail", "")).split())[:300] or f"HTTP {response.status_code}"
    if response.status_code >= 500 or response.status_code == 429:
        wish = response.headers.get("Retry-After", "")
        return UnavailableError(code, detail, retry_after=float(wish) if re.fullmatch(r"[0-9]{1,5}", wish) else None)
    return InvalidError(code, detail)


def _read(kind: type[T], document: Any, what: str) -> T:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UnavailableError(
            "middle_server_malformed", f"the middle server answered {what} with something else: {describe(error)}"
        ) from error
