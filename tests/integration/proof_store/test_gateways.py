"""Reading from gateways that are honest, broken, slow or lying; each is a real server on loopback."""

from __future__ import annotations

import asyncio
import io
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orca_protocol.errors import InvalidError, LimitError, UnavailableError
from proof_store import dag_pb
from proof_store.base import MemoryBlocks
from proof_store.builder import build_directory
from proof_store.car import header_of, section_of, write_car
from proof_store.cid import DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.gateway_peer import ReaderSettings
from proof_store.gateways import GatewayReader
from proof_store.limits import ReadLimits
from proof_store.reader import read_directory
from proof_store.unixfs import Kind, Layout, NodeData, encode_data
from tests.integration.proof_store.serving import Handler, scripted, served

FILES = {
    "spec.json": b"{}",
    "artifacts/large": b"".join(number.to_bytes(4, "big") for number in range(20_000)),
    "artifacts/same": b"{}",
}
SMALL = Layout(chunk_bytes=1000, links_per_node=20)
QUICK = ReaderSettings(allow_private=True, seconds=20, gateway_seconds=8, silence_seconds=3)


@pytest.fixture
def blocks() -> MemoryBlocks:
    return MemoryBlocks()


@pytest.fixture
def root(blocks: MemoryBlocks) -> Cid:
    return build_directory(FILES, blocks, SMALL).cid


def honest(blocks: MemoryBlocks) -> ASGIApp:
    return create_gateway(blocks, GatewaySettings())


def car_of(root: Cid, blocks: MemoryBlocks) -> bytes:
    sink = io.BytesIO()
    write_car(root, blocks, sink)
    return sink.getvalue()


def answering(answer: Callable[[Request], Response]) -> ASGIApp:
    """A gateway that says the same to whatever is asked."""
    return Starlette(routes=[Route("/{path:path}", answer)])


def sending(data: bytes, media_type: str = "application/vnd.ipld.car", status: int = 200) -> ASGIApp:
    return answering(lambda request: Response(data, status, media_type=media_type))


def noting(calls: list[str], status: int) -> Callable[[Request], Response]:
    """Refuse everything, and write down what was asked."""

    def refuse(request: Request) -> Response:
        calls.append(request.url.query)
        return Response("no", status)

    return refuse


def without_car(app: ASGIApp, status: int, asked: list[str] | None = None) -> ASGIApp:
    """The same gateway, which knows blocks only."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if asked is not None:
            asked.append(scope["query_string"].decode())
        if b"format=car" in scope["query_string"]:
            await Response("<html>", status, media_type="text/html")(scope, receive, send)
        else:
            await app(scope, receive, send)

    return refusing


@asynccontextmanager
async def all_served(*apps: ASGIApp | Handler) -> AsyncIterator[list[str]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(served(app)) for app in apps]  # type: ignore[arg-type]


async def fetched(root: Cid, *apps: ASGIApp, settings: ReaderSettings = QUICK, limits: ReadLimits | None = None) -> MemoryBlocks:
    async with all_served(*apps) as urls:
        return await GatewayReader(settings).fetch(root, urls, limits or ReadLimits())


async def failure(root: Cid, *apps: ASGIApp, settings: ReaderSettings = QUICK) -> str:
    with pytest.raises(UnavailableError) as caught:
        await fetched(root, *apps, settings=settings)
    assert caught.value.code == "data_unavailable"
    return caught.value.detail


async def test_a_package_comes_over_as_a_car(blocks: MemoryBlocks, root: Cid) -> None:
    got = await fetched(root, honest(blocks))
    assert got.blocks == blocks.blocks
    assert read_directory(root, got) == FILES


@pytest.mark.parametrize("status", [200, 400, 406, 413, 501])
async def test_a_gateway_without_car_is_asked_block_by_block(blocks: MemoryBlocks, root: Cid, status: int) -> None:
    asked: list[str] = []
    got = await fetched(root, without_car(honest(blocks), status, asked))
    assert read_directory(root, got) == FILES
    assert asked.count("format=raw") == len(blocks.blocks)


async def test_blocks_are_asked_for_side_by_side_within_bounds(blocks: MemoryBlocks, root: Cid) -> None:
    active, most = 0, 0

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        await honest(blocks)(scope, receive, send)
        active -= 1

    await fetched(root, without_car(slow, 406))
    assert 1 < most <= QUICK.parallel


async def test_any_order_repetition_and_strange_blocks_are_borne(blocks: MemoryBlocks, root: Cid) -> None:
    """The specification leaves roots, order, repetition and what else there is to the gateway."""
    sections = [section_of(cid, block) for cid, block in reversed(blocks.blocks.items())]
    other = Cid.of(RAW, b"not asked for")
    identity = b"\x07\x01\x55\x00\x03abc"
    data = header_of(other.to_bytes()) + section_of(other, b"not asked for") + identity + b"".join(sections + sections)
    got = await fetched(root, sending(data))
    assert got.blocks == blocks.blocks  # and the strange ones are dropped


async def test_a_lying_gateway_is_passed_over(blocks: MemoryBlocks, root: Cid) -> None:
    leaf = next(cid for cid, block in blocks.blocks.items() if block == b"{}")
    car = car_of(root, blocks)
    place = car.index(leaf.to_bytes() + b"{}") + 36
    forged = car[:place] + b"[]" + car[place + 2 :]
    got = await fetched(root, sending(forged), honest(blocks))
    assert got.blocks == blocks.blocks
    detail = await failure(root, sending(forged))
    assert f"sent other bytes as {leaf}" in detail
    raw = without_car(sending(b"forged", "application/vnd.ipld.raw"), 406)
    assert f"sent other bytes as {root}" in await failure(root, raw)


async def test_a_cut_car_is_followed_by_the_next_gateway(blocks: MemoryBlocks, root: Cid) -> None:
    whole = car_of(root, blocks)
    cut_in_block, cut_between = (
        sending(whole[:-3]),
        sending(whole[: whole.rindex(section_of(*list(blocks.blocks.items())[-1])) or -3]),
    )
    assert (await fetched(root, cut_in_block, honest(blocks))).blocks == blocks.blocks
    assert "ends inside a block" in await failure(root, cut_in_block)
    assert "sent a CAR without" in await failure(root, cut_between)
    lacking = MemoryBlocks()
    lacking.blocks = dict(list(blocks.blocks.items())[1:])
    assert "broke off" in await failure(root, honest(lacking))  # our own gateway closes the connection


async def test_what_one_gateway_gave_is_not_lost_when_another_has_the_rest(blocks: MemoryBlocks, root: Cid) -> None:
    names = list(blocks.blocks)
    first, second = MemoryBlocks(), MemoryBlocks()
    first.blocks = {name: blocks.blocks[name] for name in names[:-1] if name != names[0]} | {root: blocks.get(root)}
    second.blocks = {name: blocks.blocks[name] for name in names if name != names[1]}
    got = await fetched(root, without_car(honest(first), 406), without_car(honest(second), 406), honest(blocks))
    assert got.blocks == blocks.blocks


async def test_a_slow_drip_is_cut_and_the_next_gateway_asked(blocks: MemoryBlocks, root: Cid) -> None:
    car = car_of(root, blocks)

    async def drip(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car\r\n\r\n")
        for byte in car:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.02)

    settings = ReaderSettings(allow_private=True, seconds=20, gateway_seconds=10, pace_after=0.3, pace_bytes=1000)
    async with scripted(drip) as slow, served(honest(blocks)) as good:
        began = time.monotonic()
        got = await GatewayReader(settings).fetch(root, [slow, good])
        assert time.monotonic() - began < 5
        assert got.blocks == blocks.blocks
        with pytest.raises(UnavailableError, match="bytes in"):
            await GatewayReader(settings).fetch(root, [slow])


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car\r\n\r\n"])
async def test_a_silent_gateway_is_left(blocks: MemoryBlocks, root: Cid, beginning: bytes) -> None:
    async def silent(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        await writer.drain()
        await asyncio.sleep(60)

    settings = ReaderSettings(allow_private=True, silence_seconds=0.3)
    async with scripted(silent) as slow, served(honest(blocks)) as good:
        assert (await GatewayReader(settings).fetch(root, [slow, good])).blocks == blocks.blocks
        with pytest.raises(UnavailableError, match="was silent for"):
            await GatewayReader(settings).fetch(root, [slow])


async def test_a_gateway_that_dawdles_over_headers_loses_its_turn_not_the_others(blocks: MemoryBlocks, root: Cid) -> None:
    async def dawdle(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            writer.write(f"X-{number}: x\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)

    settings = ReaderSettings(allow_private=True, seconds=4, gateway_seconds=0.5)
    async with scripted(dawdle) as slow, served(honest(blocks)) as good:
        assert (await GatewayReader(settings).fetch(root, [slow, good])).blocks == blocks.blocks


async def test_the_time_in_all_is_kept(root: Cid) -> None:
    async def silent(line: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    settings = ReaderSettings(allow_private=True, seconds=0.6, gateway_seconds=0.3, silence_seconds=30)
    async with scripted(silent) as one, scripted(silent) as two, scripted(silent) as three:
        with pytest.raises(UnavailableError, match=r"of 2 independent paths.*was not asked: the 0.6 s were over"):
            await GatewayReader(settings).fetch(root, [one, two, three])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(blocks: MemoryBlocks, root: Cid, status: int) -> None:
    asked: list[str] = []
    async with served(without_car(honest(blocks), 406, asked)) as good:

        def redirect(request: Request) -> Response:
            return RedirectResponse(f"{good}{request.url.path}?{request.url.query}", status)

        assert f"redirect (HTTP {status})" in await failure(root, answering(redirect))
    assert asked == []


@pytest.mark.parametrize(
    ("status", "said"), [(404, "does not have it"), (410, "does not have it"), (500, "HTTP 500"), (429, "HTTP 429")]
)
async def test_a_refusal_ends_a_gateways_turn(blocks: MemoryBlocks, root: Cid, status: int, said: str) -> None:
    calls: list[str] = []
    refusing = answering(noting(calls, status))
    assert said in await failure(root, refusing)
    assert len(calls) == 1
    assert (await fetched(root, refusing, honest(blocks))).blocks == blocks.blocks


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "did not send a CAR"),
        (b"\x05hello", "did not send a CAR"),
        (b"\x80", "ends inside a length"),
        (b"\xff" * 20, "more than 63 bits"),
        (b"\xff\xff\xff\x7f", "too long"),
        (bytes.fromhex("0aa16776657273696f6e02") + bytes(40), "another version"),
        (header_of(Cid.of(RAW, b"").to_bytes()) + b"\xff\xff\xff\xff\x0f", "announced a block"),
    ],
)
async def test_what_is_no_car_is_the_gateways_fault(root: Cid, data: bytes, said: str) -> None:
    assert said in await failure(root, sending(data))


async def test_a_flood_of_strange_blocks_is_the_gateways_fault_and_never_the_trees(blocks: MemoryBlocks, root: Cid) -> None:
    """Sound blocks of some other tree, in any number, must not look like a package beyond the limits."""
    many = [(Cid.of(RAW, block), block) for block in (number.to_bytes(4, "big") for number in range(300))]
    flood = header_of(root.to_bytes()) + b"".join(section_of(cid, block) for cid, block in many)
    heavy = header_of(root.to_bytes()) + section_of(Cid.of(RAW, bytes(500_000)), bytes(500_000)) * 3
    limits = ReadLimits(links=200, total_bytes=400_000)
    with pytest.raises(UnavailableError, match=r"more blocks than a tree.*more than the \d+ bytes") as caught:
        await fetched(root, sending(flood), sending(heavy), limits=limits)
    assert caught.value.code == "data_unavailable"
    assert (await fetched(root, sending(flood), sending(heavy), honest(blocks), limits=limits)).blocks == blocks.blocks


async def test_an_endless_block_is_cut(root: Cid) -> None:
    endless = without_car(sending(bytes(5_000_000), "application/vnd.ipld.raw"), 406)
    assert "more than the 4194304 bytes" in await failure(root, endless)


async def test_compressed_and_rendered_answers_are_refused(root: Cid) -> None:
    packed = answering(lambda request: Response(b"x", media_type="application/vnd.ipld.car", headers={"Content-Encoding": "gzip"}))
    assert "compressed" in await failure(root, packed)
    assert "'text/html' where a block" in await failure(root, sending(b"<html>", "text/html"))


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ReadLimits(total_bytes=50_000), "read_bytes"),
        (ReadLimits(links=5), "read_links"),
        (ReadLimits(depth=1), "read_depth"),
        (ReadLimits(block_bytes=900), "block_oversize"),
    ],
)
@pytest.mark.parametrize("has_car", [True, False])
async def test_a_tree_beyond_the_limits_stops_the_fetch_with_the_readers_code(
    blocks: MemoryBlocks, root: Cid, limits: ReadLimits, code: str, has_car: bool
) -> None:
    app = honest(blocks) if has_car else without_car(honest(blocks), 406)
    with pytest.raises(LimitError) as caught:
        await fetched(root, app, limits=limits)
    assert caught.value.code == code
    with pytest.raises(LimitError, match=code):
        read_directory(root, blocks, limits)


async def test_a_bomb_is_stopped_where_it_announces_itself(blocks: MemoryBlocks) -> None:
    """Sixteen links to one node, sixteen levels deep: few blocks, endless content."""
    cid, size, tsize = Cid.of(RAW, bytes(1000)), 1000, 1000
    blocks.put(cid, bytes(1000))
    for _ in range(12):
        block = dag_pb.encode(PBNode((PBLink(cid, "", tsize),) * 16, encode_data(NodeData(Kind.FILE, (size,) * 16))))
        cid, size, tsize = Cid.of(DAG_PB, block), size * 16, tsize * 16 + len(block)
        blocks.put(cid, block)
    asked: list[str] = []
    with pytest.raises(LimitError, match="read_bytes"):
        await fetched(cid, without_car(honest(blocks), 406, asked))
    assert asked.count("format=raw") == 1


async def test_a_block_that_is_too_large_is_proven_so_by_its_hash() -> None:
    """Its own bytes, not a gateway's word: other bytes of that size say nothing."""
    large = bytes(2_000_000)
    cid = Cid.of(RAW, large)
    raw = without_car(sending(large, "application/vnd.ipld.raw"), 406)
    with pytest.raises(LimitError, match="block_oversize"):
        await fetched(cid, raw)
    with pytest.raises(LimitError, match="block_oversize"):
        await fetched(cid, sending(header_of(cid.to_bytes()) + section_of(cid, large)))
    assert "sent other bytes" in await failure(cid, without_car(sending(large + b"x", "application/vnd.ipld.raw"), 406))


def malformed() -> dict[str, bytes]:
    inside = PBLink(Cid.of(RAW, b"x"), "name", 1)
    return {
        "hamt_unsupported": dag_pb.encode(PBNode((inside,), b"\x08\x05")),
        "symlink_unsupported": dag_pb.encode(PBNode((), b"\x08\x04\x12\x01x")),
        "unixfs_malformed": dag_pb.encode(PBNode((inside,), None)),
        "dag_pb_malformed": b"\xff",
        "size_mismatch": dag_pb.encode(PBNode((PBLink(Cid.of(RAW, b"x"), "name", 2),), b"\x08\x01")),
    }


@pytest.mark.parametrize("code", sorted(malformed()))
@pytest.mark.parametrize("has_car", [True, False])
async def test_a_malformed_tree_comes_over_for_the_reader_to_name(code: str, has_car: bool) -> None:
    """The worker committed to it: it must not hide behind ``data_unavailable``."""
    blocks = MemoryBlocks()
    blocks.put(Cid.of(RAW, b"x"), b"x")
    block = malformed()[code]
    cid = Cid.of(DAG_PB, block)
    blocks.put(cid, block)
    car = sending(header_of(cid.to_bytes()) + b"".join(section_of(*each) for each in blocks.blocks.items()))
    got = await fetched(cid, car if has_car else without_car(honest(blocks), 406))
    with pytest.raises(InvalidError) as caught:
        read_directory(cid, got)
    assert caught.value.code == code


async def test_an_identity_cid_inside_a_tree_is_refused_by_name() -> None:
    link = b"\x0a\x07\x01\x55\x00\x03abc\x12\x01x\x18\x03"
    block = b"\x12" + bytes((len(link),)) + link + b"\x0a\x02\x08\x01"
    cid = Cid.of(DAG_PB, block)
    got = await fetched(cid, sending(header_of(cid.to_bytes()) + section_of(cid, block)))
    with pytest.raises(InvalidError, match="cid_unsupported"):
        read_directory(cid, got)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"])
async def test_an_address_that_is_not_public_is_refused(blocks: MemoryBlocks, root: Cid, host: str) -> None:
    asked: list[str] = []
    async with served(without_car(honest(blocks), 406, asked)) as url:
        port = httpx.URL(url).port
        with pytest.raises(UnavailableError, match=r"of 0 independent paths: .*(not a public|has no) address"):
            await GatewayReader(ReaderSettings()).fetch(root, [f"http://{host}:{port}"])
    assert asked == []


async def test_one_private_address_among_public_ones_is_enough(root: Cid) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "192.168.0.1"]

    with pytest.raises(UnavailableError, match=r"192\.168\.0\.1, which is not a public address"):
        await GatewayReader(ReaderSettings(), resolve=resolve).fetch(root, ["http://gateway.example"])


async def test_the_connection_goes_to_the_address_that_was_judged(blocks: MemoryBlocks, root: Cid) -> None:
    """The name is looked up once, by the reader; it exists nowhere else. A second look-up would fail the test."""
    looked_up, hosts = [], []

    async def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        hosts.append(dict(scope["headers"])[b"host"].decode())
        await without_car(honest(blocks), 406)(scope, receive, send)

    async with served(noting) as url:
        port = httpx.URL(url).port
        got = await GatewayReader(QUICK, resolve=resolve).fetch(root, [f"http://gateway.invalid:{port}"])
    assert got.blocks == blocks.blocks
    assert looked_up == ["gateway.invalid"]
    assert set(hosts) == {f"gateway.invalid:{port}"}


async def test_an_address_that_does_not_answer_is_followed_by_the_names_next(blocks: MemoryBlocks, root: Cid) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # the server listens on the second only

    async with served(honest(blocks)) as url:
        port = httpx.URL(url).port
        got = await GatewayReader(QUICK, resolve=resolve).fetch(root, [f"http://gateway.invalid:{port}"])
    assert got.blocks == blocks.blocks


async def test_a_certificate_is_checked_against_the_name_though_the_address_is_pinned(
    blocks: MemoryBlocks, root: Cid, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate, both = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "both.pem"
    making = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    making += ["-subj", "/CN=gateway.invalid", "-addext", "subjectAltName=DNS:gateway.invalid", "-keyout", str(key)]
    await asyncio.to_thread(subprocess.run, [*making, "-out", str(certificate)], check=True, capture_output=True, timeout=30)
    both.write_bytes(certificate.read_bytes() + key.read_bytes())

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    trusting = GatewayReader(QUICK, resolve=resolve, tls=ssl.create_default_context(cafile=certificate))
    async with served(honest(blocks), certificate=both) as url:
        port = httpx.URL(url).port
        got = await trusting.fetch(root, [f"https://gateway.invalid:{port}"])
        assert got.blocks == blocks.blocks
        for reader, host in ((trusting, "other.invalid"), (GatewayReader(QUICK, resolve=resolve), "gateway.invalid")):
            with pytest.raises(UnavailableError, match="certificate verify failed"):
                await reader.fetch(root, [f"https://{host}:{port}"])


async def test_no_proxy_of_the_environment_is_used(blocks: MemoryBlocks, root: Cid, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await fetched(root, honest(blocks))).blocks == blocks.blocks


BAD_URLS = [
    "",
    "gateway.example",
    "ftp://gateway.example",
    "http://",
    "http://.",
    "http://user@gateway.example",
    "http://user:word@gateway.example",
    "http://gateway.example#part",
    "http://gateway.example?x=1",
    "http://gateway.example:99999",
    "http://gateway.example:0",
    "http://a b.example",
    "http://é.example",
    "http://gateway.example\\@127.0.0.1",
    "http://[::1%25lo]/",
    "http://" + "a" * 3000,
]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_bad_url_is_no_path_and_keeps_no_other_from_being_asked(blocks: MemoryBlocks, root: Cid, url: str) -> None:
    async with served(honest(blocks)) as good:
        assert (await GatewayReader(QUICK).fetch(root, [url, good])).blocks == blocks.blocks
    with pytest.raises(UnavailableError, match="of 0 independent paths"):
        await GatewayReader(QUICK).fetch(root, [url])


async def test_a_base_path_is_kept(blocks: MemoryBlocks, root: Cid) -> None:
    from starlette.routing import Mount

    async with served(Starlette(routes=[Mount("/under/here", honest(blocks))])) as url:
        assert (await GatewayReader(QUICK).fetch(root, [f"{url}/under/here/"])).blocks == blocks.blocks


async def test_unavailable_says_what_each_did_and_over_how_many_paths(root: Cid) -> None:
    absent = sending(b"", status=404)
    one = await failure(root, absent)
    assert "none of 1 independent path:" in one
    assert "name a gateway on another host" in one
    two = await failure(root, absent, sending(b"", status=503))
    assert "none of 2 independent paths:" in two
    assert "does not have it (HTTP 404); " in two
    assert "answered HTTP 503" in two
    assert "another host" not in two
    with pytest.raises(UnavailableError, match=r"of 0 independent paths: no gateway is named") as none:
        await GatewayReader(QUICK).fetch(root, [])
    assert none.value.code == "data_unavailable"


async def test_two_gateways_on_one_host_are_one_path(root: Cid) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["203.0.113.1"] if host == "x" else ["8.8.8.8"]

    reader = GatewayReader(ReaderSettings(seconds=0.4, gateway_seconds=0.2), resolve=resolve)
    with pytest.raises(UnavailableError, match="of 1 independent path"):
        await reader.fetch(root, ["http://Gateway.example:81", "http://gateway.example:82"])


async def test_a_list_is_asked_in_order_each_once_and_not_without_end(blocks: MemoryBlocks, root: Cid) -> None:
    calls: list[str] = []
    refusing = answering(noting(calls, 404))
    settings = ReaderSettings(allow_private=True, gateways=2)
    async with served(refusing) as one, served(refusing) as two, served(honest(blocks)) as good:
        with pytest.raises(UnavailableError, match="1 more were not asked"):
            await GatewayReader(settings).fetch(root, [one, one, two, good])
        assert len(calls) == 2
        assert (await GatewayReader(settings).fetch(root, [one, one, good])).blocks == blocks.blocks


def test_settings_leave_time_for_a_second_gateway() -> None:
    with pytest.raises(TypeError):
        ReaderSettings(seconds=10, gateway_seconds=6)
    with pytest.raises(TypeError):
        ReaderSettings(parallel=0)
