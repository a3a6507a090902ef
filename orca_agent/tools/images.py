"""Fetches an image that a spec names: bounded in size and time, from public addresses only, also behind redirects.

What it is, its own first bytes say, not the server; what cannot be shown to a model is refused. Each hop's name is looked up once,
all its addresses are judged, and the connection goes to one of them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

import httpx

from orca_http.addresses import Resolver, is_public, system_addresses
from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from orca_protocol.world import IMAGE_MAX_BYTES, FetchedImage

MediaType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]

_URL_MAX: Final = 4_096
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What fetching one image may cost. ``allow_private`` also admits this machine's and its network's addresses."""

    seconds: float = 30.0
    silence_seconds: float = 10.0
    redirects: int = 3
    allow_private: bool = False


class Images:
    """Fetches images; holds nothing between two of them."""

    def __init__(self, settings: ImageSettings | None = None, resolve: Resolver = system_addresses) -> None:
        self._settings = settings or ImageSettings()
        self._resolve = resolve

    async def fetch(self, url: str) -> FetchedImage:
        """Return the image at ``url``, or in it if it is a data URI.

        Raises InvalidError ``image_url``, ``image_address``, ``image_type``, LimitError ``image_too_large``, UnavailableError
        ``image_unavailable``.
        """
        if url.startswith("data:"):
            return _image(_embedded(url))
        try:
            async with asyncio.timeout(self._settings.seconds):
                return _image(await self._followed(url))
        except TimeoutError as error:
            raise UnavailableError("image_unavailable", f"the image did not come within {self._settings.seconds:g} s") from error

    async def _followed(self, url: str) -> bytes:
        for _ in range(self._settings.redirects + 1):
            found = await self._hop(url)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise InvalidError("image_url", f"the image is behind more than {self._settings.redirects} redirects")

    async def _hop(self, url: str) -> bytes | str:
        """Return the body, or where it is said to be instead."""
        scheme, host, port, target = _parsed(url)
        address = await self._address(host, port)
        shown = f"[{host}]" if ":" in host else host
        name = shown if port == _PORTS[scheme] else f"{shown}:{port}"
        headers = {"Host": name, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "orca-node"}
        # The name stays in Host and in TLS, where the certificate is checked against it; only the connection is pinned.
        named = {"sni_hostname": host} if scheme == "https" and host != address else {}
        at = f"[{address}]" if ":" in address else address
        try:
            async with (
                httpx.AsyncClient(timeout=self._settings.silence_seconds, trust_env=False, follow_redirects=False) as http,
                http.stream("GET", f"{scheme}://{at}:{port}{target}", headers=headers, extensions=named) as response,
            ):
                if response.status_code in _REDIRECTS:
                    return str(response.headers.get("Location", ""))
                if response.status_code != 200:
                    raise _refusal(response.status_code, host)
                return await _body(response)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise UnavailableError("image_unavailable", f"{host[:100]} did not send the image: {type(error).__name__}") from error

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UnavailableError("image_unavailable", f"{host[:100]} has no address") from error
        if not addresses:
            raise UnavailableError("image_unavailable", f"{host[:100]} has no address")
        if not self._settings.allow_private and not all(is_public(address) for address in addresses):
            raise InvalidError("image_address", f"{host[:100]} is not at a public address; images come from the open internet only")
        return addresses[0]


def _parsed(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url) if len(url) <= _URL_MAX and url.isascii() and url.isprintable() and " " not in url else None
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or port == 0:
        raise InvalidError("image_url", "an image is at http(s)://host/path, percent-encoded and without a user")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname.rstrip("."), port or _PORTS[parts.scheme], target


def _refusal(status: int, host: str) -> Exception:
    detail = f"{host[:100]} answered HTTP {status}"
    return UnavailableError("image_unavailable", detail) if status == 429 or status >= 500 else InvalidError("image_url", detail)


async def _body(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > IMAGE_MAX_BYTES:
            raise LimitError("image_too_large", f"the image has more than {IMAGE_MAX_BYTES} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _embedded(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise InvalidError("image_url", "a data URI of an image is data:image/…;base64,…")
    if len(data) > 4 * (IMAGE_MAX_BYTES + 2) // 3 + 4:
        raise LimitError("image_too_large", f"the image has more than {IMAGE_MAX_BYTES} bytes")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("image_url", "the data URI is not base64") from error


def _image(data: bytes) -> FetchedImage:
    return FetchedImage.of(_media_type(data), data)


def _media_type(data: bytes) -> MediaType:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidError("image_type", "what came is no PNG, JPEG, GIF or WebP")
