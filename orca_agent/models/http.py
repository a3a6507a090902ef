"""The one HTTP client that all hosted providers share, made for hundreds of calls in flight.

No limit derived from cores or pools: one explicit bound on calls in flight. Each phase of a call has its own timeout.
Deliberately not done: proxies and netrc taken from the environment (a stray variable must not reroute prompts or add
credentials; an operator names one by ORCA_MODEL_PROXY), redirects (they would carry the key elsewhere), cookies, and
compressed answers (nothing to gain on loopback, and a bomb to fear). Why it is our own: docs/adr/0014.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from orca_agent.models.base import Caps, error_for, excerpt, parse_retry_after
from orca_agent.models.connection import Connection, Response
from orca_agent.models.pool import Origin, Pool, Proxy
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
    #: may hold a password
    proxy: str | None = field(default=None, repr=False)
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


class Hushed:
    """A block whose errors do not hold ``secret``. Not a generator: there is one around every call."""

    __slots__ = ("_secret",)

    def __init__(self, secret: SecretStr | None) -> None:
        self._secret = secret

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        key = "" if self._secret is None else self._secret.get_secret_value()
        if key and isinstance(error, OrcaError) and key in str(error):
            error.detail = error.detail.replace(key, "[struck out]")
            error.args = (f"{error.code}: {error.detail}",)


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
        try:
            Origin.of(base_url)
        except ValueError as error:  # also brackets that do not match, a port that is none, a name that is none
            raise InvalidError(
                "bad_base_url", f"the base URL of {label} must be http(s)://host[:port][/path], without user, query or fragment"
            ) from error
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

    @cached_property
    def origin(self) -> Origin:
        """Where it is."""
        return self._place[0]

    def request(self, method: str, path: str, body: bytes | None, proxy: Proxy | None) -> bytes:
        """Return the bytes of a request, as they go to the server itself, through a tunnel, or in plain text to ``proxy``."""
        target, credentials = self._place[1] + path, ""
        if proxy is not None and self.origin.scheme == "http":
            target, credentials = f"http://{self.origin.authority}{target}", proxy.authorisation
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        return f"{method} {target} HTTP/1.1\r\n{self._lines}{credentials}{length}\r\n".encode() + (body or b"")

    @cached_property
    def _place(self) -> tuple[Origin, str]:
        return Origin.of(self.base_url)

    @cached_property
    def _lines(self) -> str:
        """The headers that every request has."""
        lines = {"Host": self.origin.authority, "User-Agent": "orca-node", **self.headers}
        return "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def hushed(self) -> Hushed:
        """Strike the key out of any error that leaves the block: some servers repeat it in their refusals."""
        return Hushed(self.secret)


class Chunks:
    """The bytes of a streamed answer as they arrive: an async iterator that needs no closing of its own."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._response.chunk():
            return chunk
        raise StopAsyncIteration


class HttpClient:
    """Bytes to and from model servers. Made cheaply anywhere; its connections open inside the loop that first uses it."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self._proxy = None if self.settings.proxy is None else Proxy.of(self.settings.proxy)
        self._pool: Pool | None = None
        self._gate = asyncio.Semaphore(self.settings.in_flight)
        self._under_way: set[Response] = set()
        self._closed = False

    async def get(self, endpoint: Endpoint, path: str) -> bytes:
        """Return the body of a successful GET; raises the OrcaError family."""
        return await self._whole("GET", endpoint, path, None)

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> bytes:
        """Return the body of a successful POST; raises the OrcaError family."""
        return await self._whole("POST", endpoint, path, body)

    @asynccontextmanager
    async def stream(self, endpoint: Endpoint, path: str, body: bytes) -> AsyncIterator[Chunks]:
        """Enter with the chunks of a successful answer as they arrive; leaving early closes the connection."""
        async with self._gate:
            response = await self._asked("POST", endpoint, path, body)
            try:
                await _refuse(response, endpoint.label)
                yield Chunks(response)
                response.close_after(_DRAIN_SECONDS)  # after the last event only the end of the body is missing
            except BaseException:
                response.close()
                raise
            finally:
                self._under_way.discard(response)

    async def close(self) -> None:
        """Close all connections; the client cannot be used again, and calls under way end with an error."""
        self._closed = True
        for response in self._under_way:
            response.fail("client_closed", "was not waited for: this node is stopping")
        if self._pool is not None:
            self._pool.close()

    async def _whole(self, method: str, endpoint: Endpoint, path: str, body: bytes | None) -> bytes:
        limit = self.settings.caps.body_bytes
        async with self._gate:
            response = await self._asked(method, endpoint, path, body)
            try:
                await _refuse(response, endpoint.label)
                data = await response.body(limit)
            finally:
                response.close()
                self._under_way.discard(response)
        if len(data) > limit:
            raise LimitError("body_too_large", f"{endpoint.label} sent more than {limit} bytes; it was cut off")
        return data

    async def _asked(self, method: str, endpoint: Endpoint, path: str, body: bytes | None) -> Response:
        """Send a request and return its answer, which the caller closes."""
        connection = await self._connection(endpoint)
        response = Response(endpoint.label, read=self.settings.read, total=self.settings.total)
        self._under_way.add(response)
        connection.send(endpoint.request(method, path, body, self._proxy), response)
        return response

    async def _connection(self, endpoint: Endpoint) -> Connection:
        if self._pool is None:
            self._pool = Pool(connect=self.settings.connect, proxy=self._proxy)
        found = None if self._closed else self._pool.free(endpoint.origin)
        if found is None and not self._closed:
            found = await self._pool.open(endpoint.origin, endpoint.label)
        if self._closed or found is None:
            if found is not None:
                found.abort()
            raise UnavailableError("client_closed", "the HTTP client is closed: this node is stopping")
        return found


async def _refuse(response: Response, label: str) -> None:
    """Raise what any status but 200 means. A server that fails while explaining itself is still refused by its status."""
    status = await response.head()
    if status == 200:
        return
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            body = (await response.body(_ERROR_BODY_BYTES))[:_ERROR_BODY_BYTES]
    except (TimeoutError, UnavailableError):
        body = b""
    message, quota = _explanation(body)
    if quota:
        raise InvalidError("payment_required", f"{label} answered HTTP {status}: {excerpt(message)}")
    raise error_for(status, message, label, retry_after=parse_retry_after(response.retry_after))


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
