"""A person's side of an agent's or a middle server's HTTP: post work, see how it stands, end it, get what came of it.

Which of the two a server is, it says itself at ``/health``; what can be asked of it differs in price and payment only.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import httpx

from orca.network_settings import ServerSettings
from orca_protocol.errors import InvalidError, OrcaError, UnavailableError

Kind = Literal["orca-agent", "orca-middle-server"]
#: an output may be large; anything beyond is no answer of ours
_ANSWER_MAX_BYTES: Final = 80 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WorkItem:
    """What a middle server wants to know beside the spec."""

    price: int
    models: tuple[dict[str, Any], ...]
    checks: tuple[str, ...]


class Server:
    """One server, asked for one person."""

    def __init__(self, settings: ServerSettings, url: str | None = None) -> None:
        """``url`` stands for the settings' own. Raises InvalidError ``bad_url``."""
        self._settings = settings
        self._url = (url or settings.middle_server_url or settings.agent_url).rstrip("/")
        if not _is_address(self._url):
            raise InvalidError("bad_url", f"{self._url!r} is no address of a server: http(s)://host[:port]")
        self.http = httpx.AsyncClient(base_url=self._url, timeout=httpx.Timeout(60.0, connect=5.0), trust_env=False)
        self.kind: Kind = "orca-agent"

    async def __aenter__(self) -> Self:
        try:
            service = (await self._asked("GET", "/health")).get("service")
            if service not in ("orca-agent", "orca-middle-server"):
                raise InvalidError("not_a_server", f"{self._url} is neither an Orca agent nor a middle server")
            self.kind = service
        except BaseException:
            await self.http.aclose()
            raise
        key = self._settings.api_key if self.kind == "orca-agent" else self._settings.middle_api_key
        if key is not None:
            self.http.headers["x-api-key"] = key.get_secret_value()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.http.aclose()

    async def submit(self, spec: str, item: WorkItem | None, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Post a spec: as a work item where ``item`` says what it is worth, else as a run. Raises InvalidError ``wrong_server``."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if self.kind == "orca-agent":
            if item is not None:
                raise InvalidError(
                    "wrong_server", f"{self._url} is an agent: it runs things at once and pays nobody; leave --price out"
                )
            return await self._asked("POST", "/v1/runs", {"spec": spec}, headers)
        if item is None:
            raise InvalidError("wrong_server", f"{self._url} is a middle server: say what the work is worth: --price 1.5")
        body = {
            "spec": spec,
            "price": str(item.price),
            "models": list(item.models),
            "required_checks": list(item.checks),
            "visibility": "public",
        }
        return await self._asked("POST", "/v1/work-items", body, headers)

    async def status(self, name: str) -> dict[str, Any]:
        """Return how a run or work item stands."""
        return await self._asked("GET", f"{self._path}/{_id(name)}")

    async def cancel(self, name: str) -> dict[str, Any]:
        """End a run, or take a work item back that nobody has reported."""
        return await self._asked("POST", f"{self._path}/{_id(name)}/cancel", {}, {"Idempotency-Key": str(uuid.uuid4())})

    async def give_input(self, name: str, content: str, path: str | None) -> dict[str, Any]:
        """Answer what a run asks people. Raises InvalidError ``wrong_server``."""
        if self.kind != "orca-agent":
            raise InvalidError("wrong_server", f"{self._url} is a middle server: work items ask nobody; --server names an agent")
        body = {"content": content} | ({} if path is None else {"path": path})
        return await self._asked("POST", f"/v1/runs/{_id(name)}/input", body, {"Idempotency-Key": str(uuid.uuid4())})

    async def result(self, name: str) -> dict[str, Any]:
        """Return what a run said, or which proof stands for a work item."""
        last = "output" if self.kind == "orca-agent" else "result"
        return await self._asked("GET", f"{self._path}/{_id(name)}/{last}")

    async def verdicts(self, name: str) -> list[dict[str, Any]]:
        """Return the verdicts on a work item's proofs."""
        found = (await self._asked("GET", f"/v1/verdicts?work_item={_id(name)}")).get("verdicts")
        return found if isinstance(found, list) else []

    async def proofs(self) -> list[dict[str, Any]]:
        """Return the newest proofs that a node keeps, and where each is."""
        found = (await self._asked("GET", "/v1/proofs")).get("proofs")
        return found if isinstance(found, list) else []

    async def collect(self, *, dry: bool) -> list[str]:
        """Have a node let go of the proofs whose time is over, or only name them."""
        found = (await self._asked("POST", f"/v1/proofs/collect?dry={'true' if dry else 'false'}", {})).get("collected")
        return [str(root) for root in found] if isinstance(found, list) else []

    @property
    def _path(self) -> str:
        return "/v1/runs" if self.kind == "orca-agent" else "/v1/work-items"

    async def _asked(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            async with self.http.stream(method, path, json=body, headers=headers) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > _ANSWER_MAX_BYTES:
                        raise UnavailableError("answer_oversize", f"{self._url} answered with more than {_ANSWER_MAX_BYTES} bytes")
        except (httpx.HTTPError, OSError) as error:
            said = str(error) or type(error).__name__
            raise UnavailableError("server_unavailable", f"{self._url} does not answer: {said[:200]}") from error
        if 300 <= response.status_code < 400:
            raise UnavailableError("server_moved", f"{self._url} answered {path} with a redirect, which is not followed")
        document = _parsed(bytes(data), self._url)
        if response.status_code >= 400:
            raise _refused(response.status_code, document)
        return document


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _parsed(data: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise UnavailableError("server_malformed", f"{url} did not answer with JSON; is it an Orca server?") from error
    if not isinstance(document, dict):
        raise UnavailableError("server_malformed", f"{url} answered with something else than a document")
    return document


def _refused(status: int, document: dict[str, Any]) -> OrcaError:
    code, detail = str(document.get("code", "refused"))[:64], str(document.get("detail", f"HTTP {status}"))[:1000]
    return (UnavailableError if status >= 500 or status == 429 else InvalidError)(code, detail)


def _id(name: str) -> str:
    if not name or not all(character.isascii() and (character.isalnum() or character == "-") for character in name):
        raise InvalidError("bad_id", f"{name[:60]!r} is no id of a run or work item")
    return name
