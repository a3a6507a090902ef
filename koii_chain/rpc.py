"""JSON-RPC to endpoints that may be slow, silent, wrong or behind: several are asked in turn, each within caps of time and size.

An endpoint that does not answer, answers with something that is not JSON-RPC, or lags behind what was already seen is passed
over. A refusal of the call itself (a forged transaction, a wrong parameter) is an answer: no other endpoint is asked.
What errors here say is about endpoints. It is never evidence against a peer whose key or proof was looked up.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import httpx

from koii_chain.state import MAX_U64
from orca_protocol.canonical import canonical, parse_json
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError

#: JSON-RPC errors that are about the call, not about the endpoint's health: invalid request, parameters, refused transactions
_ABOUT_THE_CALL: Final = frozenset({-32600, -32602, -32002, -32003, -32013})
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class RpcSettings:
    """Endpoints in the order they are asked, and what one call may cost. The largest task account is 50 MiB, as base64 67."""

    endpoints: tuple[str, ...]
    connect_seconds: float = 5.0
    call_seconds: float = 20.0
    body_bytes: int = 80 * 1024 * 1024
    #: slots that an endpoint may be behind the newest slot seen from any
    lag_slots: int = 150

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise InvalidError("no_endpoint", "name at least one RPC endpoint of the chain")
        for endpoint in self.endpoints:
            parts = urlsplit(endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
                raise InvalidError("bad_endpoint", "an RPC endpoint is http(s)://host[:port][/path], without user or fragment")


@dataclass(frozen=True)
class Answer:
    """A result, and the slot its endpoint was at when it gave one with a context."""

    value: Any
    slot: int | None


class JsonRpc:
    """Calls by method and parameters. One client for many calls; close it."""

    def __init__(self, settings: RpcSettings) -> None:
        self.settings = settings
        # No proxies or credentials from the environment, no redirects: the endpoints are those that were configured.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.call_seconds, connect=settings.connect_seconds),
            trust_env=False,
            follow_redirects=False,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "orca-node"},
        )
        self._ids = itertools.count(1)
        self._newest = 0

    async def call(self, method: str, params: list[Any]) -> Answer:
        """Return the first sound answer.

        Raises InvalidError with the chain's own code (or ``rpc_refused``) when the call was refused; UnavailableError when no
        endpoint gave an answer (the last reason, or ``rpc_lagging``); InvalidError ``rpc_malformed`` when all that came was
        malformed; LimitError ``rpc_oversize`` when all that came was too large.
        """
        failures: list[OrcaError] = []
        for endpoint in self.settings.endpoints:
            label = urlsplit(endpoint).netloc
            try:
                document = await self._asked(endpoint, label, method, params)
            except (UnavailableError, InvalidError, LimitError) as error:
                failures.append(error)
                continue
            if "error" in document:
                try:
                    _raise(document["error"], label)
                except UnavailableError as error:
                    failures.append(error)
                    continue
            answer = _answer(document["result"])
            if answer.slot is not None and answer.slot < self._newest - self.settings.lag_slots:
                failures.append(UnavailableError("rpc_lagging", f"{label} is at slot {answer.slot}, others were at {self._newest}"))
                continue
            self._newest = max(self._newest, answer.slot or 0)
            return answer
        raise next((error for error in failures if isinstance(error, UnavailableError)), failures[-1])

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _asked(self, endpoint: str, label: str, method: str, params: list[Any]) -> dict[str, Any]:
        number = next(self._ids)
        body = canonical({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        data = await self._posted(endpoint, label, body)
        try:
            document = parse_json(data, max_bytes=self.settings.body_bytes, where=f"the answer of {label}", max_integer=MAX_U64)
        except InvalidError as error:
            raise InvalidError("rpc_malformed", f"{label} did not answer with JSON: {error.detail}") from error
        is_envelope = isinstance(document, dict) and document.get("jsonrpc") == "2.0" and document.get("id") == number
        if not is_envelope or ("result" in document) == ("error" in document):
            raise InvalidError("rpc_malformed", f"{label} did not answer this call by JSON-RPC 2.0")
        return dict(document)

    async def _posted(self, endpoint: str, label: str, body: bytes) -> bytes:
        try:
            async with asyncio.timeout(self.settings.call_seconds):
                return await self._body(endpoint, label, body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise UnavailableError("timeout", f"{label} did not answer in {self.settings.call_seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise UnavailableError("connect_failed", f"no answer from {label}: {str(error)[:200]}") from error

    async def _body(self, endpoint: str, label: str, body: bytes) -> bytes:
        async with self._http.stream("POST", endpoint, content=body) as response:
            if response.status_code != httpx.codes.OK:
                raise UnavailableError(
                    "rpc_http",
                    f"{label} answered HTTP {response.status_code}",
                    retry_after=_seconds(response.headers.get("Retry-After")),
                )
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > self.settings.body_bytes:
                    raise LimitError("rpc_oversize", f"{label} sent more than {self.settings.body_bytes} bytes; it was cut off")
            return bytes(data)


def _answer(result: Any) -> Answer:
    """Take a result out of its context, where it has one."""
    if isinstance(result, dict) and set(result) == {"context", "value"} and isinstance(result["context"], dict):
        slot = result["context"].get("slot")
        return Answer(result["value"], slot if type(slot) is int and slot >= 0 else None)
    return Answer(result, None)


def _raise(error: Any, label: str) -> NoReturn:
    """Raise what an endpoint's error means; its words are quoted, bounded and in one line."""
    number = error.get("code") if isinstance(error, dict) else None
    message = " ".join(str(error.get("message", "") if isinstance(error, dict) else error).split())[:300]
    data = error.get("data") if isinstance(error, dict) else None
    said = data.get("code") if isinstance(data, dict) else None
    code = said if isinstance(said, str) and _CODE.fullmatch(said) else "rpc_refused"
    if number in _ABOUT_THE_CALL:
        raise InvalidError(code, f"{label} refused: {message}")
    raise UnavailableError("rpc_error", f"{label} could not answer ({number}): {message}")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,5}", text) else None
