"""The one HTTP client that all hosted providers share, made for hundreds of calls in flight.

No limit derived from cores or pools: one explicit bound on calls in flight. Each phase of a call has its own timeout.
Deliberately not done: proxies, netrc and certificates taken from the environment (``trust_env`` off: a stray variable must
not reroute prompts or add credentials; an operator names a proxy in the settings), redirects (they would carry the key
elsewhere), cookies, and compressed answers (nothing to gain on loopback, and a bomb to fear).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from orca_agent.models.base import Caps, error_for, excerpt, parse_retry_after
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError

_ERROR_BODY_BYTES = 64 * 1024
_ERROR_BODY_SECONDS = 5.0
_DRAIN_SECONDS = 0.2


@dataclass(frozen=True)
class HttpSettings:
    """Timeouts in seconds, per phase. A model may think long before its first byte: ``read`` is the silence allowed."""

    connect: float = 5.0
    read: float = 300.0
    total: float = 900.0
    in_flight: int = 512
    proxy: str | None = None
    caps: Caps = field(default_factory=Caps)


@dataclass(frozen=True)
class ServerSettings:
    """One server; each wire format has its own defaults.

    ``models`` replaces its listing where it has none; ``name`` is what the journal calls it, never its host.
    """

    base_url: str
    api_key: SecretStr | None = None
    models: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Endpoint:
    """A checked base URL and the headers that go with it; ``label`` is what errors call it. Never printed with its headers."""

    label: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: SecretStr | None = None

    @classmethod
    def checked(cls, label: str, base_url: str, headers: Mapping[str, str], key: tuple[str, SecretStr] | None) -> Endpoint:
        """Raises InvalidError ``bad_base_url`` or ``bad_api_key``; the key itself is never in the detail."""
        if not _is_base_url(base_url):
            raise InvalidError(
                "bad_base_url", f"the base URL of {label} must be http(s)://host[:port][/path], without user, query or fragment"
            )
        sent = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
        if key is not None:
            header, secret = key
            value = secret.get_secret_value()
            if not value.isascii() or not value.isprintable() or value != value.strip() or not value:
                raise InvalidError(
                    "bad_api_key", f"the API key of {label} is empty or holds blanks, line ends or non-ASCII characters"
                )
            sent[header] = f"Bearer {value}" if header == "Authorization" else value
        return cls(label, base_url.rstrip("/"), sent, None if key is None else key[1])

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Strike the key out of any error that leaves the block: some servers repeat it in their refusals."""
        try:
            yield
        except OrcaError as error:
            key = "" if self.secret is None else self.secret.get_secret_value()
            if key and key in str(error):
                error.detail = error.detail.replace(key, "[struck out]")
                error.args = (f"{error.code}: {error.detail}",)
            raise


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # brackets that do not match; a port that is none
        return False
    if "@" in parts.netloc or "?" in url or "#" in url:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


class Chunks:
    """The bytes of a streamed answer as they arrive: an async iterator that needs no closing of its own."""

    def __init__(self, response: aiohttp.ClientResponse, label: str) -> None:
        self._content = response.content
        self._label = label

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        # Only the reading is translated: an OSError of whoever consumes the chunks is not the server's.
        with translated(self._label):
            chunk = await self._content.readany()
        if not chunk:
            raise StopAsyncIteration
        return chunk


class HttpClient:
    """Bytes to and from model servers. Made cheaply anywhere; its connections open inside the loop that first uses it."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self._session: aiohttp.ClientSession | None = None
        self._gate: asyncio.Semaphore | None = None
        self._closed = False

    async def get(self, endpoint: Endpoint, path: str) -> bytes:
        """Return the body of a successful GET; raises the OrcaError family."""
        async with self._call("GET", endpoint, path, None) as response:
            return await self._body(response, endpoint.label)

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> bytes:
        """Return the body of a successful POST; raises the OrcaError family."""
        async with self._call("POST", endpoint, path, body) as response:
            return await self._body(response, endpoint.label)

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint, path: str, body: bytes) -> AsyncIterator[Chunks]:
        """Enter with the chunks of a successful answer as they arrive; leaving early closes the connection."""
        async with self._call("POST", endpoint, path, body) as response:
            yield Chunks(response, endpoint.label)
            await _drain(response)

    async def close(self) -> None:
        """Close all connections; the client cannot be used again."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _call(self, method: str, endpoint: Endpoint, path: str, body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        session, gate = self._opened()
        url = endpoint.base_url + path
        async with gate:
            with translated(endpoint.label):
                response = await session.request(
                    method, url, data=body, headers=endpoint.headers, allow_redirects=False, proxy=self.settings.proxy
                )
            try:
                if response.status != 200:
                    raise await _refusal(response, endpoint.label)
                yield response
            finally:
                response.release()  # a body that was not read to its end closes the connection: that is how a call is cancelled

    def _opened(self) -> tuple[aiohttp.ClientSession, asyncio.Semaphore]:
        if self._closed:
            raise UnavailableError("client_closed", "the HTTP client is closed: this node is stopping")
        if self._session is None or self._gate is None:
            timeout = aiohttp.ClientTimeout(
                total=self.settings.total,
                connect=self.settings.connect,
                sock_connect=self.settings.connect,
                sock_read=self.settings.read,
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # TCP_NODELAY is aiohttp's default
                timeout=timeout,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "orca-node"},
            )
            self._gate = asyncio.Semaphore(self.settings.in_flight)
        return self._session, self._gate

    async def _body(self, response: aiohttp.ClientResponse, label: str) -> bytes:
        with translated(label):
            data = await _read_at_most(response, self.settings.caps.body_bytes + 1)
        if len(data) > self.settings.caps.body_bytes:
            raise LimitError("body_too_large", f"{label} sent more than {self.settings.caps.body_bytes} bytes; it was cut off")
        return data


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Let only the OrcaError family (and cancellation) out of the block; ``label`` names the server."""
    try:
        yield
    except OrcaError:
        raise
    except aiohttp.InvalidURL as error:
        raise InvalidError("bad_base_url", f"the base URL of {label} is not a URL") from error
    except aiohttp.ConnectionTimeoutError as error:
        raise UnavailableError("connect_timeout", f"{label} did not accept a connection in time") from error
    except TimeoutError as error:  # aiohttp's read and total timeouts are TimeoutErrors too
        raise UnavailableError("timeout", f"{label} did not answer in time") from error
    except aiohttp.ClientPayloadError as error:
        raise UnavailableError("truncated_answer", f"{label} broke off in the middle of its answer") from error
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise UnavailableError("tls_failed", f"no trusted TLS connection to {label}: {excerpt(str(error))}") from error
    except aiohttp.ClientConnectorError as error:
        raise UnavailableError("connect_failed", f"no connection to {label}: {excerpt(str(error))}") from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise UnavailableError("disconnected", f"{label} closed the connection without answering") from error
    except aiohttp.ClientResponseError as error:
        raise UnavailableError("malformed_http", f"{label} did not speak HTTP: {excerpt(error.message)}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError("connect_failed", f"no connection to {label}: {excerpt(str(error))}") from error


async def _refusal(response: aiohttp.ClientResponse, label: str) -> OrcaError:
    """The status is what counts: a server that fails while explaining itself is still refused by its status."""
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            body = await _read_at_most(response, _ERROR_BODY_BYTES)
    except (TimeoutError, aiohttp.ClientError):
        body = b""
    message, quota = _explanation(body)
    if quota:
        return InvalidError("payment_required", f"{label} answered HTTP {response.status}: {excerpt(message)}")
    retry_after = parse_retry_after(response.headers.get("Retry-After"))
    return error_for(response.status, message, label, retry_after=retry_after)


def _explanation(body: bytes) -> tuple[str, bool]:
    """Return the server's own words, and whether they say that the account is out of credit (OpenAI sends that as 429)."""
    text = body.decode("utf-8", "replace")
    document = _lenient(body)
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, dict):
        message = error.get("message")
        quota = "insufficient_quota" in (error.get("code"), error.get("type"))
        return (message if isinstance(message, str) else text), quota
    return (error if isinstance(error, str) else text), False


def _lenient(body: bytes) -> Any:
    """Return the JSON of an error body, or None: only the wording of an error depends on it."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Stops at the first chunk beyond ``limit``: what was read is then longer than it."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size >= limit:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """After the last event only the end of the body is missing; reading it lets the connection be used again."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            await _read_at_most(response, _ERROR_BODY_BYTES)
    except (TimeoutError, aiohttp.ClientError):
        response.close()
