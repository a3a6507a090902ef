"""Kubo's RPC API, the few calls of it that a node uses: every one with a cap on time and on the size of the answer.

The RPC is the daemon's whole control (docs.ipfs.tech/reference/kubo/rpc), so it is spoken to in clear on loopback only, unless
the operator says otherwise. All calls are POST. An error is a JSON document with a ``Message``; of what streams, only a line
that says so is success, because an error after the first byte comes as a trailer that HTTP clients do not show.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from orca_http.local import is_loopback
from orca_protocol.errors import InvalidError, UnavailableError
from proof_store.readback import capped

DEFAULT_URL: Final = "http://127.0.0.1:5001"
_SAID_BYTES: Final = 1_048_576
_QUICK_SECONDS: Final = 10.0


def parse_rpc_url(text: str, *, allow_remote: bool = False) -> str:
    """Return the base URL of a Kubo's RPC. Raises InvalidError ``kubo_url``, ``kubo_url_remote``."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise InvalidError("kubo_url", f"{text[:80]!r} is no URL; Kubo's own is {DEFAULT_URL}") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise InvalidError("kubo_url", f"Kubo's RPC is http(s)://host:port, by default {DEFAULT_URL}; put no password into it")
    if parts.scheme == "http" and not allow_remote and not is_loopback(host):
        raise InvalidError(
            "kubo_url_remote",
            f"whoever reads along on the way to {host} could take the daemon over: use https, a Kubo on this machine, "
            "or, on a network that is yours alone, set ORCA_KUBO_ALLOW_REMOTE=true",
        )
    return text.rstrip("/")


class KuboRpc:
    """One daemon. ``token`` is what its ``API.Authorizations`` wants, as a bearer token."""

    def __init__(self, url: str = DEFAULT_URL, token: SecretStr | None = None, *, silence_seconds: float = 30.0) -> None:
        self.url = url.rstrip("/")
        headers = {"User-Agent": "orca-node", "Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._http = httpx.AsyncClient(
            base_url=f"{self.url}/api/v0/",
            headers=headers,
            timeout=httpx.Timeout(silence_seconds, connect=5.0),
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the daemon is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")

    async def close(self) -> None:
        """Give connections back."""
        await self._http.aclose()

    async def call(self, command: str, **query: str) -> dict[str, Any]:
        """Return what a short command answers. Raises UnavailableError ``kubo_silent``, ``kubo_refused``, ``kubo_unclear``."""
        async with self._asked(command, query, timeout=_QUICK_SECONDS) as answer:
            return _document(command, await capped(answer, _SAID_BYTES))

    async def block(self, command: str, max_bytes: int, **query: str) -> bytes:
        """Return the bytes that a command answers, at most ``max_bytes``. Raises as ``call`` does, and ``answer_oversize``."""
        async with self._asked(command, query, timeout=_QUICK_SECONDS) as answer:
            return await capped(answer, max_bytes)

    async def send(self, command: str, body: AsyncIterator[bytes], seconds: float, **query: str) -> list[dict[str, Any]]:
        """Send a file as it is made, and return the documents that the command answers, a line each. Raises as ``call`` does.

        ``seconds`` is how long the daemon may be silent after the last byte: it may have much to write and to look through.
        """
        head = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        async with self._asked(command, query, timeout=seconds, content=_form(body), headers=head) as answer:
            lines = (await capped(answer, _SAID_BYTES)).splitlines()
        return [_document(command, line) for line in lines if line.strip()]

    @asynccontextmanager
    async def _asked(self, command: str, query: dict[str, str], *, timeout: float, **more: Any) -> AsyncIterator[httpx.Response]:
        named = {name.replace("_", "-"): value for name, value in query.items()}
        try:
            async with self._http.stream(
                "POST", command, params=named, timeout=httpx.Timeout(timeout, connect=5.0), **more
            ) as answer:
                if answer.status_code != 200:
                    raise _refused(command, answer.status_code, await capped(answer, _SAID_BYTES))
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(
                "kubo_silent", f"Kubo at {self.url} does not answer ({type(error).__name__}); is `ipfs daemon` running there?"
            ) from error


_BOUNDARY: Final = "orca-node-a-car-never-holds-this-line"


async def _form(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Wrap a file as the one part of a multipart form, without ever holding it."""
    head = 'Content-Disposition: form-data; name="file"; filename="proof.car"\r\nContent-Type: application/octet-stream'
    yield f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode()
    async for piece in body:
        yield piece
    yield f"\r\n--{_BOUNDARY}--\r\n".encode()


def _refused(command: str, status: int, body: bytes) -> UnavailableError:
    try:
        said = str(_document(command, body).get("Message") or "")
    except UnavailableError:
        said = body[:200].decode(errors="replace")
    if status in (401, 403):
        return UnavailableError(
            "kubo_forbidden", f"Kubo does not let this node use {command}: set ORCA_KUBO_TOKEN as its API wants"
        )
    return UnavailableError("kubo_refused", f"Kubo's {command} failed (HTTP {status}): {' '.join(said.split())[:300]}")


def _document(command: str, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnavailableError("kubo_unclear", f"Kubo's {command} did not answer with JSON; is this Kubo's RPC?") from error
    if not isinstance(found, dict):
        raise UnavailableError("kubo_unclear", f"Kubo's {command} answered with something else than a document")
    return found
