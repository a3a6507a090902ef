"""Images: what comes, from where, how much and how long, against a real server on loopback."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable

import pytest

from orca_agent.tools.images import Images, ImageSettings
from orca_protocol.errors import OrcaError
from orca_protocol.world import IMAGE_MAX_BYTES, FetchedImage

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
KINDS = [
    (PNG, "image/png"),
    (b"\xff\xd8\xff\xe0" + b"\0" * 9, "image/jpeg"),
    (b"GIF89a" + b"\0" * 9, "image/gif"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
]


class Server:
    """Answers each path with the bytes it was given, whatever they are."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[bytes] = []
        self.port = 0
        self.hangs = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        answer = self.answers.get(request.split()[1].decode())
        if answer is None:
            await self.hangs.wait()
        else:
            writer.write(answer)
        writer.close()

    def has(self, path: str, body: bytes, head: str = "200 OK", **headers: str) -> str:
        lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
        self.answers[path] = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return f"http://images.example:{self.port}{path}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    made.hangs.set()
    listening.close()
    await listening.wait_closed()


def images(
    allow_private: bool = True, addresses: Callable[[str], list[str]] = lambda host: ["127.0.0.1"], seconds: float = 5.0
) -> Images:
    async def resolve(host: str, port: int) -> list[str]:
        return addresses(host)

    return Images(ImageSettings(allow_private=allow_private, seconds=seconds, silence_seconds=seconds), resolve)


async def refused(fetching: Images, url: str) -> str:
    with pytest.raises(OrcaError) as caught:
        await fetching.fetch(url)
    return caught.value.code


@pytest.mark.parametrize(("data", "media_type"), KINDS)
async def test_an_image_is_what_its_first_bytes_say(server: Server, data: bytes, media_type: str) -> None:
    url = server.has("/a?b=c", data, **{"Content-Type": "text/html"})
    image = await images().fetch(url)
    assert (image.image.media_type, image.bytes) == (media_type, data)
    assert b"GET /a?b=c HTTP/1.1\r\n" in server.requests[0]
    assert f"Host: images.example:{server.port}".encode() in server.requests[0]
    embedded = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    assert await images().fetch(embedded) == image


async def test_what_is_no_image_is_refused(server: Server) -> None:
    assert await refused(images(), server.has("/a", b"<html>")) == "image_type"
    assert await refused(images(), "data:image/png;base64,PGh0bWw+") == "image_type"
    assert await refused(images(), "data:image/png;base64,%%%") == "image_url"
    assert await refused(images(), "data:image/png,raw") == "image_url"


async def test_private_addresses_are_not_asked_also_behind_a_redirect(server: Server) -> None:
    inside = server.has("/inside", PNG)
    away = server.has("/away", b"", "302 Found", Location=f"http://inside.example:{server.port}/inside")
    assert await refused(images(allow_private=False), inside) == "image_address"
    assert not server.requests
    assert (await images().fetch(away)).bytes == PNG
    server.requests.clear()
    # every address of a name is judged: one that is not public is enough
    mixed = images(allow_private=False, addresses=lambda host: ["8.8.8.8", "127.0.0.1"])
    assert await refused(mixed, inside) == "image_address"
    assert not server.requests


async def test_a_redirect_to_a_private_address_is_refused_though_the_first_was_public(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = server.has("/away", b"", "307 Temporary Redirect", Location=f"http://inside.example:{server.port}/secret")
    server.has("/secret", PNG)
    monkeypatch.setattr("orca_agent.tools.images.is_public", lambda address: address == "127.0.0.1")  # as if this were the internet
    hosts = {"images.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}
    assert await refused(images(allow_private=False, addresses=hosts.__getitem__), away) == "image_address"
    assert len(server.requests) == 1


async def test_redirects_end(server: Server) -> None:
    here = server.has("/again", b"", "302 Found", Location="/again")
    assert await refused(images(), here) == "image_url"
    assert len(server.requests) == 4
    assert await refused(images(), server.has("/nowhere", b"", "302 Found", Location="file:///etc/passwd")) == "image_url"


@pytest.mark.parametrize(
    ("head", "code"), [("404 Not Found", "image_url"), ("503 Busy", "image_unavailable"), ("429 x", "image_unavailable")]
)
async def test_another_status_says_whether_it_may_help_to_come_back(server: Server, head: str, code: str) -> None:
    assert await refused(images(), server.has("/a", b"", head)) == code


async def test_an_image_beyond_the_cap_is_cut_off(server: Server) -> None:
    assert await refused(images(), server.has("/a", PNG + b"\0" * IMAGE_MAX_BYTES)) == "image_too_large"
    largest = PNG + b"\0" * (IMAGE_MAX_BYTES - len(PNG))
    found = await images().fetch(server.has("/b", largest))
    assert isinstance(found, FetchedImage)
    assert len(found.bytes) == IMAGE_MAX_BYTES


async def test_a_server_that_is_silent_or_not_there_is_not_waited_for(server: Server) -> None:
    assert await refused(images(seconds=0.2), f"http://images.example:{server.port}/hangs") == "image_unavailable"
    assert await refused(images(addresses=lambda host: []), f"http://images.example:{server.port}/a") == "image_unavailable"
    server.answers["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + PNG
    assert await refused(images(), f"http://images.example:{server.port}/cut") == "image_unavailable"


@pytest.mark.parametrize("url", ["ftp://a/b", "http://user@host/a", "http://host:0/a", "http:///a", "http://host/a b", "x" * 5000])
async def test_what_is_no_address_of_an_image_is_refused(url: str) -> None:
    assert await refused(images(), url) == "image_url"
