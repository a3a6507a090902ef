from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from pydantic import SecretStr

from orca_agent.models import pool
from orca_agent.models.base import Caps
from orca_agent.models.http import Endpoint, HttpClient, HttpSettings
from orca_protocol.errors import InvalidError, LimitError, OrcaError, UnavailableError
from tests.unit.orca_agent.models.raw_server import Handler, RawServer, always, raw_server

KEY = "sk-test-0123456789abcdef"
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 5\r\n\r\nhello"
LAST = OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"


def settings(**more: float) -> HttpSettings:
    return HttpSettings(**{"connect": 2.0, "read": 2.0, "total": 5.0, **more}, caps=Caps(body_bytes=10_000))  # type: ignore[arg-type]


def endpoint(url: str) -> Endpoint:
    return Endpoint.checked("the server", url, {}, ("Authorization", SecretStr(KEY)))


async def posted(url: str, http: HttpClient | None = None) -> bytes:
    used = http or HttpClient(settings())
    try:
        return await used.post(endpoint(url), "/chat", b"{}")
    finally:
        if http is None:
            await used.close()


async def failing(handler: Handler) -> OrcaError:
    with raw_server(handler) as server, pytest.raises(OrcaError) as caught:
        await posted(server.url)
    return caught.value


async def test_a_request_says_what_it_must_and_no_more() -> None:
    with raw_server(always(WHOLE)) as server:
        assert await posted(server.url) == b"hello"
    assert server.requests == [
        b"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: orca-node\r\nContent-Type: application/json\r\n"
        b"Accept-Encoding: identity\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}" % (server.port, KEY.encode())
    ]


@pytest.mark.parametrize(
    "pieces",
    [
        [WHOLE],
        [WHOLE[:9], WHOLE[9:40], WHOLE[40:]],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE],
    ],
    ids=["at once", "in pieces", "chunked", "after 100 Continue"],
)
async def test_a_body_is_read_however_it_comes_and_the_connection_used_again(pieces: list[bytes]) -> None:
    http = HttpClient(settings())
    with raw_server(always(*pieces, pause=0.01)) as server:
        assert [await posted(server.url, http) for _ in range(3)] == [b"hello"] * 3
        assert server.connections == 1
        await http.close()


@pytest.mark.parametrize("answer", [OK + b"\r\nhello", LAST, b"HTTP/1.0 200 OK\r\n\r\nhello"], ids=["no length", "said so", "1.0"])
async def test_a_connection_that_the_server_closes_is_not_used_again(answer: bytes) -> None:
    http = HttpClient(settings())
    with raw_server(always(answer, close=True)) as server:
        assert [await posted(server.url, http) for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 2
        await http.close()


async def test_a_second_answer_to_one_request_is_nobodys() -> None:
    http = HttpClient(settings())
    with raw_server(always(WHOLE + WHOLE.replace(b"hello", b"wrong"))) as server:
        assert [await posted(server.url, http) for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 2
        await http.close()


async def test_a_free_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT_SECONDS", 0.1)
    http = HttpClient(settings())
    with raw_server(always(WHOLE)) as server:
        await posted(server.url, http)
        async with asyncio.timeout(2):
            while not server.ended:
                await asyncio.sleep(0.01)
    await http.close()


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([], "disconnected"),
        ([b"HTTP/1.1 200"], "disconnected"),
        ([OK + b"Content-Length: 9\r\n\r\nhello"], "truncated_answer"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"], "truncated_answer"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "malformed_http"),
        ([OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"], "malformed_http"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"], "malformed_http"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"], "malformed_http"),
        ([OK, *[b"X: %s\r\n" % (b"x" * 8000)] * 9], "malformed_http"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 3000, "malformed_http"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", *[b"X: %s\r\n" % (b"x" * 8000)] * 50], "malformed_http"),
    ],
    ids=[
        "nothing",
        "half a line",
        "short",
        "cut",
        "ssh",
        "two lengths",
        "no chunk",
        "101",
        "endless head",
        "only 100",
        "endless trailer",
    ],
)
async def test_what_is_no_answer_is_said_to_be_none(pieces: list[bytes], code: str) -> None:
    error = await failing(always(*pieces, close=True))
    assert isinstance(error, UnavailableError)
    assert error.code == code


@pytest.mark.parametrize(
    ("pause", "limits", "is_enough"),
    [(0.5, {"read": 0.1}, False), (0.02, {"read": 0.1}, True), (0.02, {"read": 0.1, "total": 0.15}, False)],
    ids=["silent", "slow", "too slow"],
)
async def test_silence_has_an_end_and_so_has_slowness(pause: float, limits: dict[str, float], is_enough: bool) -> None:
    http = HttpClient(settings(**limits))
    with raw_server(always(OK + b"Content-Length: 10\r\n\r\n", *[b"x"] * 10, pause=pause)) as server:
        if is_enough:
            assert await posted(server.url, http) == b"x" * 10
        else:
            with pytest.raises(UnavailableError, match="timeout"):
                await posted(server.url, http)
        await http.close()


async def test_a_body_beyond_the_cap_is_not_waited_for() -> None:
    answer = OK + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 20_000
    error = await failing(always(answer, pause=30))
    assert isinstance(error, LimitError)


async def test_a_reader_that_does_not_read_holds_the_server_up_and_is_not_the_servers_silence() -> None:
    sent = 0

    async def flood(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        for _ in range(64):
            writer.write(b"x" * 2**20)
            await writer.drain()
            sent += 1
        writer.close()

    http = HttpClient(settings(read=0.2))
    with raw_server(flood) as server:
        async with http.stream(endpoint(server.url), "/chat", b"{}") as chunks:
            await asyncio.sleep(0.5)
            assert sent < 32
            assert sum([len(chunk) async for chunk in chunks]) == 64 * 2**20
    await http.close()


async def test_leaving_a_stream_early_closes_it_and_at_its_end_does_not() -> None:
    http = HttpClient(settings())
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with raw_server(always(chunked, b"0\r\n\r\n", pause=0.02)) as server:
        for _ in range(2):
            async with http.stream(endpoint(server.url), "/chat", b"{}") as chunks:
                async for chunk in chunks:
                    assert chunk == b"hello"
                    break
            await asyncio.sleep(0.1)  # the end of the body comes meanwhile
        assert server.connections == 1
        with pytest.raises(ZeroDivisionError):
            async with http.stream(endpoint(server.url), "/chat", b"{}") as chunks:
                raise ZeroDivisionError
        assert await posted(server.url, http) == b"hello"
        assert server.connections == 2
        await http.close()


async def test_closing_the_client_ends_the_calls_under_way() -> None:
    http = HttpClient(settings())
    with raw_server(always(pause=30)) as server:
        call = asyncio.create_task(posted(server.url, http))
        while not server.requests:
            await asyncio.sleep(0.01)
        await http.close()
        with pytest.raises(UnavailableError, match="client_closed"):
            await call


async def test_nothing_accepts() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        http = HttpClient(settings(connect=0.2))
        with pytest.raises(UnavailableError, match="connect_timeout"):
            await posted(f"http://127.0.0.1:{full.getsockname()[1]}", http)
        await http.close()


async def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(UnavailableError, match="connect_failed"):
        await posted("http://nowhere.invalid/v1")


async def test_calls_that_begin_together_look_a_name_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, lookups = asyncio.get_running_loop(), 0
    if isinstance(loop, uvloop.Loop):
        pytest.skip("uvloop's methods cannot be replaced")
    genuine = loop.getaddrinfo

    async def counted(*where: object, **how: object) -> object:
        nonlocal lookups
        lookups += 1
        return await genuine(*where, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "getaddrinfo", counted)
    http = HttpClient(settings())
    with raw_server(always(WHOLE)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert await asyncio.gather(*(posted(url, http) for _ in range(20))) == [b"hello"] * 20
        assert (lookups, server.connections) == (1, 20)
    await http.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for ``localhost``, in one file with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = [folder / "key.pem", folder / "certificate.pem"]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(made[0]), "-out", str(made[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    both = folder / "both.pem"
    both.write_bytes(made[1].read_bytes() + made[0].read_bytes())
    return both


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an operator with an authority of their own sets."""
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(certificate))
        yield


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def secure(server: RawServer, name: str = "localhost") -> str:
    return f"https://{name}:{server.port}/v1"


async def test_tls_to_a_trusted_name(certificate: Path, trusted: None) -> None:
    with raw_server(always(WHOLE), tls=server_side(certificate)) as server:
        http = HttpClient(settings())
        assert [await posted(secure(server), http) for _ in range(2)] == [b"hello"] * 2
        assert server.connections == 1
        await http.close()
        with pytest.raises(UnavailableError, match="tls_failed"):
            await posted(secure(server, "127.0.0.1"))


async def test_tls_that_nobody_vouches_for(certificate: Path) -> None:
    with raw_server(always(WHOLE), tls=server_side(certificate)) as server, pytest.raises(UnavailableError, match="tls_failed"):
        await posted(secure(server))
    assert not server.requests


def proxying(target: int) -> Handler:
    """A proxy's ``CONNECT``."""

    async def answer(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reads, there = await asyncio.open_connection("127.0.0.1", target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, there), pump(there_reads, writer))
        finally:
            there.close()

    return answer


async def test_a_named_proxy_gets_plain_requests_whole() -> None:
    with raw_server(always(WHOLE)) as proxy:
        http = HttpClient(HttpSettings(proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}"))
        assert await posted("http://models.example/v1", http) == b"hello"
        await http.close()
    (sent,) = proxy.requests
    assert sent.startswith(b"POST http://models.example/v1/chat HTTP/1.1\r\nHost: models.example\r\n")
    assert b"\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n" in sent


def test_a_proxys_password_is_not_shown_with_it() -> None:
    proxy = pool.Proxy.of("http://me:p%40ss@127.0.0.1:3128")
    assert "bWU6cEBzcw==" in proxy.authorisation
    assert "3128" in repr(proxy)
    assert "Basic" not in repr(proxy)


async def test_tls_goes_through_a_proxy_that_learns_nothing(certificate: Path, trusted: None) -> None:
    with raw_server(always(WHOLE), tls=server_side(certificate)) as server, raw_server(proxying(server.port)) as proxy:
        http = HttpClient(HttpSettings(proxy=f"http://127.0.0.1:{proxy.port}"))
        assert [await posted(secure(server), http) for _ in range(2)] == [b"hello"] * 2
        await http.close()
    assert proxy.requests == [b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % (server.port, server.port)]
    assert b"Authorization: Bearer" in server.requests[1]


async def test_what_a_proxy_refuses_is_said_to_be_the_proxys() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with raw_server(always(refusal)) as proxy:
        http = HttpClient(HttpSettings(proxy=f"http://127.0.0.1:{proxy.port}"))
        with pytest.raises(InvalidError, match="the proxy of the server answered HTTP 407"):
            await posted("https://models.example/v1", http)
        await http.close()


@pytest.mark.parametrize(
    "url", ["socks5://x", "http://", "https://x", "http://u:secret-word@x/path", "x:80", "http://u:secret-word@x?y"]
)
def test_a_proxy_that_is_none(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        HttpClient(HttpSettings(proxy=url))
    assert caught.value.code == "bad_proxy"
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://host", "host", "/chat"),
        ("https://host:443/v1/", "host", "/v1/chat"),
        ("http://[::1]:8080/v1", "[::1]:8080", "/v1/chat"),
        ("https://bücher.example/ü b%20", "xn--bcher-kva.example", "/%C3%BC%20b%20/chat"),
    ],
)
def test_how_a_base_url_is_written_in_a_request(url: str, authority: str, target: str) -> None:
    sent = endpoint(url).request("GET", "/chat", None, None)
    assert sent.startswith(f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n".encode())
