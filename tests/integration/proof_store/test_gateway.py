"""The gateway behind a real server, asked by a real client."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from orca_protocol.errors import InvalidError
from proof_store import dag_pb
from proof_store.base import BlockStore, MemoryBlocks
from proof_store.blocks import DirectoryBlocks
from proof_store.builder import build_directory, build_file
from proof_store.car import read_car, write_car
from proof_store.cid import DAG_CBOR, DAG_PB, RAW, Cid
from proof_store.dag_pb import PBLink, PBNode
from proof_store.gateway import GatewaySettings, create_gateway
from proof_store.reader import read_directory
from proof_store.unixfs import Layout
from tests.integration.proof_store.serving import served

SMALL = Layout(chunk_bytes=4, links_per_node=3)
FILES = {"a/x": b"0123456789" * 3, "a/y": b"0123", "b": b"0123456789" * 3, "c": b"else"}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # quicker to make than the default, which reads every authority
RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car"


@pytest.fixture
def blocks() -> MemoryBlocks:
    return MemoryBlocks()


@pytest.fixture
def root(blocks: MemoryBlocks) -> Cid:
    return build_directory(FILES, blocks, SMALL).cid


@asynccontextmanager
async def asking(blocks: BlockStore, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(create_gateway(blocks, GatewaySettings(**settings))) as base,  # type: ignore[arg-type]
        httpx.AsyncClient(base_url=base, trust_env=False, timeout=20, verify=NO_TLS) as client,
    ):
        yield client


def sections(data: bytes) -> list[Cid]:
    """The CIDs of a CAR, in order. All here have 36 bytes, and every length fits in two."""
    cids, place = [], 1 + data[0]
    while place < len(data):
        length, width = (data[place], 1) if data[place] < 0x80 else (data[place] & 0x7F | data[place + 1] << 7, 2)
        cids.append(Cid.from_bytes(data[place + width : place + width + 36]))
        place += width + length
    return cids


async def beginning(client: httpx.AsyncClient, url: str) -> bytes:
    """What came of an answer that must break off."""
    got = b""
    async with client.stream("GET", url) as answer:
        assert answer.status_code == 200
        try:
            async for chunk in answer.aiter_raw():
                got += chunk
        except httpx.RemoteProtocolError:
            return got
    raise AssertionError("the answer ended as if it were complete")


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    return True


async def test_a_raw_block_is_its_bytes_with_what_caches_and_browsers_need(blocks: MemoryBlocks, root: Cid) -> None:
    async with asking(blocks) as client:
        answer = await client.get(f"/ipfs/{root}?format=raw")
    assert answer.status_code == 200
    assert answer.content == blocks.get(root)
    assert answer.headers["content-type"] == RAW_TYPE
    assert answer.headers["etag"] == f'"{root}.raw"'
    assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'attachment; filename="{root}.bin"'
    assert answer.headers["x-ipfs-path"] == f"/ipfs/{root}"
    assert "content-location" not in answer.headers


@pytest.mark.parametrize("form", ["raw", "car"])
async def test_what_accept_negotiated_says_where_it_is_without_it(blocks: MemoryBlocks, root: Cid, form: str) -> None:
    async with asking(blocks) as client:
        answer = await client.get(f"/ipfs/{root}", headers={"Accept": f"application/vnd.ipld.{form}; order=dfs; dups=y"})
        again = await client.get(answer.headers["content-location"])
    assert again.content == answer.content
    assert "content-location" not in again.headers
    assert again.headers["content-type"] == answer.headers["content-type"]
    assert again.headers["etag"] == answer.headers["etag"]


async def test_a_car_is_the_bytes_of_write_car(tmp_path: Path) -> None:
    kept = DirectoryBlocks(tmp_path)
    root = build_directory(FILES | {"large": bytes(range(256)) * 4096}, kept).cid
    sink = io.BytesIO()
    write_car(root, kept, sink)
    async with asking(kept) as client:
        answer = await client.get(f"/ipfs/{root}?format=car")
    assert answer.content == sink.getvalue()
    assert answer.headers["content-type"] == f"{CAR_TYPE}; version=1; order=dfs; dups=n"
    assert answer.headers["content-disposition"] == f'attachment; filename="{root}.car"'
    assert answer.headers["x-ipfs-roots"] == str(root)


async def test_dups_are_sent_each_time_when_asked_for(blocks: MemoryBlocks, root: Cid) -> None:
    async with asking(blocks) as client:
        once = sections((await client.get(f"/ipfs/{root}?format=car")).content)
        often = sections((await client.get(f"/ipfs/{root}?format=car&car-dups=y")).content)
    assert len(once) == len(set(once)) < len(often)
    assert list(dict.fromkeys(often)) == once


async def test_head_has_the_headers_and_no_body(blocks: MemoryBlocks, root: Cid) -> None:
    async with asking(blocks) as client:
        for form in ("raw", "car"):
            head = await client.head(f"/ipfs/{root}?format={form}")
            got = await client.get(f"/ipfs/{root}?format={form}")
            assert (head.status_code, head.content) == (200, b"")
            same = ("etag", "content-type", "cache-control", "content-disposition", "content-length")
            assert {name: head.headers.get(name) for name in same} == {name: got.headers.get(name) for name in same}
        assert (await client.head(f"/ipfs/{Cid.of(RAW, b'absent')}?format=raw")).status_code == 404


@pytest.mark.parametrize("form", ["raw", "car"])
async def test_if_none_match_is_answered_304(blocks: MemoryBlocks, root: Cid, form: str) -> None:
    async with asking(blocks) as client:
        etag = (await client.head(f"/ipfs/{root}?format={form}")).headers["etag"]
        for tags in (etag, f'"other", W/{etag}', "*"):
            answer = await client.get(f"/ipfs/{root}?format={form}", headers={"If-None-Match": tags})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        answer = await client.get(f"/ipfs/{root}?format={form}", headers={"If-None-Match": '"other"'})
        assert answer.status_code == 200
        absent = await client.get(f"/ipfs/{Cid.of(RAW, b'absent')}?format={form}", headers={"If-None-Match": "*"})
        assert absent.status_code == 404  # a condition is looked at only where the answer would be the block


async def test_ranges_of_a_raw_block(blocks: MemoryBlocks) -> None:
    cid = build_file(b"0123456789", blocks).cid
    async with asking(blocks) as client:

        async def ranged(text: str, **more: str) -> httpx.Response:
            return await client.get(f"/ipfs/{cid}?format=raw", headers={"Range": text, **more})

        answer = await ranged("bytes=2-4")
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
        assert (await ranged("bytes=-3")).content == b"789"
        assert (await ranged("bytes=7-99")).headers["content-range"] == "bytes 7-9/10"
        assert is_problem(await ranged("bytes=10-"), 416, "range_not_satisfiable")
        assert (await ranged("bytes=10-")).headers["content-range"] == "bytes */10"
        assert (await ranged("bytes=0-1,3-4")).status_code == 200
        assert (await ranged("bytes=0-1", **{"If-Range": '"other"'})).status_code == 200


async def test_scopes_of_a_car(blocks: MemoryBlocks, root: Cid) -> None:
    folder = next(link.cid for link in dag_pb.decode(blocks.get(root)).links if link.name == "a")
    file = next(link.cid for link in dag_pb.decode(blocks.get(folder)).links if link.name == "x")
    async with asking(blocks) as client:

        async def got(query: str) -> list[Cid]:
            answer = await client.get(f"/ipfs/{root}{query}")
            assert answer.status_code == 200, answer.text
            read_car(io.BytesIO(answer.content), MemoryBlocks())
            return sections(answer.content)

        assert await got("?format=car&dag-scope=block") == [root]
        assert await got("?format=car&dag-scope=entity") == [root]
        assert await got("/a?format=car&dag-scope=entity") == [root, folder]
        assert await got("/a/x/?format=car&dag-scope=block") == [root, folder, file]
        whole = await got("/a/x?format=car")
        assert whole == await got("/a/x?format=car&dag-scope=entity")
        assert whole[:3] == [root, folder, file]
        some = await got("/a/x?format=car&entity-bytes=4:7")
        assert some[:3] == [root, folder, file]
        assert [blocks.get(cid) for cid in some if cid.codec == RAW] == [b"4567"]
        assert [blocks.get(cid) for cid in await got("/a/x?format=car&entity-bytes=-2:*") if cid.codec == RAW] == [b"89"]
        assert await got("/a/x?format=car&entity-bytes=5:2") == [root, folder, file]
        assert await got("/a?format=car&entity-bytes=0:0") == [root, folder]  # no bytes: the parameter is ignored
        answer = await client.get(f"/ipfs/{root}/a/x?format=car&entity-bytes=30:*")
        assert is_problem(answer, 400, "span_outside")
        roots = (await client.head(f"/ipfs/{root}/a/x?format=car&dag-scope=block")).headers["x-ipfs-roots"]
        assert roots == f"{root},{folder},{file}"


async def test_every_shape_of_answer_has_its_own_etag(blocks: MemoryBlocks, root: Cid) -> None:
    queries = [
        "?format=raw",
        "?format=car",
        "?format=car&dag-scope=block",
        "?format=car&dag-scope=entity",
        "?format=car&car-dups=y",
    ]
    queries += ["/b?format=car", "/a?format=car", "/b?format=car&entity-bytes=0:1", "/b?format=car&entity-bytes=0:*"]
    async with asking(blocks) as client:
        tags = [(await client.head(f"/ipfs/{root}{query}")).headers["etag"] for query in queries]
    assert len(set(tags)) == len(queries)


@pytest.mark.parametrize(
    ("path", "accept", "status", "code"),
    [
        ("/ipfs/nonsense?format=raw", None, 400, "cid_malformed"),
        ("/ipfs/?format=raw", None, 400, "cid_malformed"),
        ("/ipfs/bafkqabtimvwgy3yk?format=raw", None, 400, "cid_unsupported"),
        ("/ipfs/{root}", None, 400, "format_missing"),
        ("/ipfs/{root}", "*/*", 400, "format_missing"),
        ("/ipfs/{root}?format=zip", None, 400, "format_unknown"),
        ("/ipfs/{root}?format=html", None, 406, "format_not_offered"),
        ("/ipfs/{root}?format=dag-json", None, 406, "format_not_offered"),
        ("/ipfs/{root}", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", 406, "format_not_offered"),
        ("/ipfs/{root}", f"{CAR_TYPE}; version=2", 406, "format_not_offered"),
        ("/ipfs/{root}?format=car&car-version=2", None, 406, "format_not_offered"),
        ("/ipfs/{root}?format=car&car-order=bfs", None, 400, "parameter_invalid"),
        ("/ipfs/{root}?format=car&car-dups=maybe", None, 400, "parameter_invalid"),
        ("/ipfs/{root}?format=car&dag-scope=some", None, 400, "parameter_invalid"),
        ("/ipfs/{root}?format=car&entity-bytes=1", None, 400, "parameter_invalid"),
        ("/ipfs/{root}?format=car&dag-scope=all&entity-bytes=0:1", None, 400, "parameter_invalid"),
        ("/ipfs/{root}?format=car&format=raw", None, 400, "parameter_invalid"),
        ("/ipfs/{root}/a?format=raw", None, 400, "parameter_invalid"),
        ("/ipfs/{root}/a/..%2f/x?format=car", None, 400, "name_invalid"),
        ("/ipfs/{root}/nothing?format=car", None, 404, "path_absent"),
        ("/ipfs/{root}/b/deeper?format=car", None, 404, "path_absent"),
        ("/ipfs/{absent}?format=raw", None, 404, "block_missing"),
        ("/ipfs/{absent}?format=car", None, 404, "block_missing"),
        ("/ipns/{root}?format=raw", None, 404, "not_found"),
        ("/", None, 404, "not_found"),
    ],
)
async def test_refusals(blocks: MemoryBlocks, root: Cid, path: str, accept: str | None, status: int, code: str) -> None:
    async with asking(blocks) as client:
        if accept is None:
            del client.headers["accept"]
        url = path.format(root=root, absent=Cid.of(RAW, b"absent"))
        assert is_problem(await client.get(url, headers={"Accept": accept} if accept else {}), status, code)


async def test_nothing_is_written_and_no_service_worker_registered(blocks: MemoryBlocks, root: Cid) -> None:
    async with asking(blocks) as client:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            answer = await client.request(method, f"/ipfs/{root}?format=raw", content=b"x")
            assert is_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "GET, HEAD"
        worker = await client.get(f"/ipfs/{root}?format=raw", headers={"Service-Worker": "script"})
        assert is_problem(worker, 400, "service_worker")


async def test_only_if_cached_turns_absence_into_412(blocks: MemoryBlocks, root: Cid) -> None:
    async with asking(blocks) as client:
        for form in ("raw", "car"):
            asked = {"Cache-Control": "only-if-cached"}
            assert (await client.get(f"/ipfs/{root}?format={form}", headers=asked)).status_code == 200
            answer = await client.get(f"/ipfs/{Cid.of(RAW, b'absent')}?format={form}", headers=asked)
            assert is_problem(answer, 412, "not_cached")


async def test_the_probe_is_answered(blocks: MemoryBlocks) -> None:
    async with asking(blocks) as client:
        raw = await client.get("/ipfs/bafkqaaa?format=raw")
        assert (raw.status_code, raw.content) == (200, b"")
        car = await client.get("/ipfs/bafkqaaa", headers={"Accept": CAR_TYPE})
        assert car.status_code == 200
        assert car.content.endswith(b"\x00\x01\x55\x00\x00gversion\x01")
        assert (await client.head("/ipfs/bafkqaaa?format=raw")).status_code == 200


async def test_what_the_operator_denies_is_gone_under_any_codec_and_from_every_car(blocks: MemoryBlocks, root: Cid) -> None:
    denied = next(link.cid for link in dag_pb.decode(blocks.get(root)).links if link.name == "c")
    again = Cid(DAG_CBOR, denied.digest)
    blocks.put(again, blocks.get(denied))
    async with asking(blocks, denied=frozenset({denied})) as client:
        assert is_problem(await client.get(f"/ipfs/{denied}?format=raw"), 410, "block_denied")
        assert is_problem(await client.get(f"/ipfs/{again}?format=raw"), 410, "block_denied")
        assert is_problem(await client.get(f"/ipfs/{root}/c?format=car"), 410, "block_denied")
        assert (await client.get(f"/ipfs/{root}/a?format=car")).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/ipfs/{root}?format=car")


async def test_bytes_that_are_not_the_block_are_never_sent(tmp_path: Path) -> None:
    kept = DirectoryBlocks(tmp_path)
    leaf = build_file(b"honest bytes", kept).cid
    root = build_directory({"file": b"honest bytes"}, kept).cid
    (path,) = [found for found in tmp_path.rglob("*.block") if found.stem == str(leaf)]
    path.write_bytes(b"forged bytes")
    async with asking(kept) as client:
        assert is_problem(await client.get(f"/ipfs/{leaf}?format=raw"), 500, "block_corrupt")
        assert b"forged" not in await beginning(client, f"/ipfs/{root}?format=car")


class Trusting(MemoryBlocks):
    """A store that checks nothing: what a gateway must not rely on."""

    def get(self, cid: Cid) -> bytes:
        return self.blocks[cid]


async def test_no_store_is_believed() -> None:
    blocks = Trusting()
    cid = Cid.of(RAW, b"honest")
    blocks.blocks[cid] = b"forged"
    async with asking(blocks) as client:
        for form in ("raw", "car"):
            answer = await client.get(f"/ipfs/{cid}?format={form}")
            assert is_problem(answer, 500, "block_corrupt")
            assert b"forged" not in answer.content


@pytest.mark.parametrize("query", ["", "&dag-scope=entity", "&entity-bytes=0:*", "&car-dups=y"])
async def test_no_store_is_believed_about_what_lies_deeper(query: str) -> None:
    blocks = Trusting()
    root = build_file(b"aaaabbbb", blocks, SMALL).cid
    blocks.blocks[Cid.of(RAW, b"bbbb")] = b"BBBB"
    async with asking(blocks) as client:
        got = await beginning(client, f"/ipfs/{root}?format=car{query}")
    assert got.endswith(b"aaaa")


class Counting(MemoryBlocks):
    """A store that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Cid] = []

    def get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        return super().get(cid)


async def test_head_reads_no_more_than_its_headers_need() -> None:
    blocks = Counting()
    root = build_directory(FILES, blocks, SMALL).cid
    async with asking(blocks) as client:
        assert (await client.head(f"/ipfs/{root}?format=car")).status_code == 200
    assert set(blocks.asked) == {root}


async def test_a_client_that_leaves_is_not_read_for_any_longer() -> None:
    blocks = Counting()
    # more than fits into what the two sockets hold
    root = build_directory({str(number): number.to_bytes(2, "big") * 10_000 for number in range(600)}, blocks).cid
    async with asking(blocks) as client:
        async with client.stream("GET", f"/ipfs/{root}?format=car") as answer:
            async for _ in answer.aiter_raw():
                break
        await asyncio.sleep(0.2)
        after = len(blocks.asked)
        await asyncio.sleep(0.2)
        assert len(blocks.asked) == after < 600


async def test_a_car_is_cut_where_a_block_is_missing(blocks: MemoryBlocks, root: Cid) -> None:
    last = dag_pb.decode(blocks.get(root)).links[-1].cid
    del blocks.blocks[last]
    async with asking(blocks) as client:
        got = await beginning(client, f"/ipfs/{root}?format=car")
    assert sections(got)[0] == root
    assert last not in sections(got)


@pytest.mark.parametrize("limit", [{"car_bytes": 400}, {"car_blocks": 3}])
async def test_limits_of_a_car(blocks: MemoryBlocks, root: Cid, limit: dict[str, int]) -> None:
    """A tree that says it is too large is refused; what only shows on the way is cut."""
    async with asking(blocks, **limit) as client:
        if "car_bytes" in limit:
            assert is_problem(await client.get(f"/ipfs/{root}?format=car"), 413, "car_bytes")
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"/ipfs/{root}?format=car")
        assert (await client.get(f"/ipfs/{root}?format=car&dag-scope=block")).status_code == 200


async def test_a_tree_that_lies_about_its_size_is_cut_at_the_limit(blocks: MemoryBlocks) -> None:
    leaf = build_file(bytes(1000), blocks).cid
    lie = dag_pb.encode(PBNode((PBLink(leaf, "x", 1),), b"\x08\x01"))
    root = Cid.of(DAG_PB, lie)
    blocks.put(root, lie)
    async with asking(blocks, car_bytes=500) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/ipfs/{root}?format=car")


async def test_other_dags_than_packages(blocks: MemoryBlocks) -> None:
    """Any block is served raw; what cannot be followed is refused by name, not half sent."""
    document = Cid.of(DAG_CBOR, b"\xa0")
    sharded = dag_pb.encode(PBNode((), b"\x08\x05"))
    bad = b"\xff\xff"
    blocks.put(document, b"\xa0")
    blocks.put(Cid.of(DAG_PB, sharded), sharded)
    blocks.put(Cid.of(DAG_PB, bad), bad)
    async with asking(blocks) as client:
        for cid in list(blocks.blocks):
            assert (await client.get(f"/ipfs/{cid}?format=raw")).status_code == 200
            assert (await client.get(f"/ipfs/{cid}?format=car&dag-scope=block")).status_code == 200
        assert (await client.get(f"/ipfs/{document}?format=car&dag-scope=entity")).status_code == 200
        assert is_problem(await client.get(f"/ipfs/{document}?format=car"), 400, "codec_unsupported")
        answer = await client.get(f"/ipfs/{Cid.of(DAG_PB, sharded)}?format=car&dag-scope=entity")
        assert is_problem(answer, 400, "hamt_unsupported")
        assert is_problem(await client.get(f"/ipfs/{Cid.of(DAG_PB, bad)}?format=car"), 404, "dag_pb_malformed")


class Waiting(MemoryBlocks):
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go = threading.Event()

    def get(self, cid: Cid) -> bytes:
        self.asked.set()
        assert self.go.wait(20)
        return super().get(cid)


async def test_one_request_too_many_is_told_to_come_back() -> None:
    blocks = Waiting()
    cid = build_file(b"x", blocks).cid
    async with asking(blocks, concurrent=1) as client:
        first = asyncio.create_task(client.get(f"/ipfs/{cid}?format=raw"))
        await asyncio.to_thread(blocks.asked.wait, 20)
        second = await client.get(f"/ipfs/{cid}?format=raw")
        assert is_problem(second, 503, "gateway_busy")
        assert int(second.headers["retry-after"]) >= 1
        blocks.go.set()
        assert (await first).status_code == 200
        assert (await client.get(f"/ipfs/{cid}?format=raw")).status_code == 200


async def test_a_store_that_does_not_answer_in_time_is_503() -> None:
    blocks = Waiting()
    cid = build_file(b"x", blocks).cid
    async with asking(blocks, seconds=0.2) as client:
        answer = await client.get(f"/ipfs/{cid}?format=raw")
        blocks.go.set()
    assert is_problem(answer, 503, "gateway_slow")


async def test_a_broken_disk_is_500(tmp_path: Path) -> None:
    kept = DirectoryBlocks(tmp_path)
    cid = build_file(b"x", kept).cid
    (path,) = tmp_path.rglob("*.block")
    path.unlink()
    path.symlink_to(path)
    async with asking(kept) as client:
        assert is_problem(await client.get(f"/ipfs/{cid}?format=raw"), 500, "storage_failed")


@pytest.mark.parametrize("setting", [{"stall_seconds": 0.3}, {"seconds": 0.5}])
async def test_a_client_that_does_not_read_loses_its_place(tmp_path: Path, setting: dict[str, float]) -> None:
    kept = DirectoryBlocks(tmp_path)
    root = build_directory({"large": b"".join(number.to_bytes(4, "big") for number in range(8 * 262_144))}, kept).cid
    async with asking(kept, concurrent=1, **setting) as client:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, (client.base_url.host, client.base_url.port))
            await loop.sock_sendall(slow, f"GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await asyncio.sleep(0.1)
            assert (await client.get(f"/ipfs/{root}?format=raw")).status_code == 503
            async with asyncio.timeout(15):
                while (await client.get(f"/ipfs/{root}?format=raw")).status_code == 503:
                    await asyncio.sleep(0.05)
                got = b""
                while chunk := await loop.sock_recv(slow, 1 << 20):  # and what it reads late ends without the last chunk
                    got += chunk
            assert not got.endswith(b"0\r\n\r\n")


async def test_a_whole_package_comes_over(tmp_path: Path) -> None:
    kept, got = DirectoryBlocks(tmp_path), MemoryBlocks()
    files = {"spec.json": b"{}", "artifacts/large": bytes(range(256)) * 3000}
    root = build_directory(files, kept).cid
    async with asking(kept) as client:
        read_car(io.BytesIO((await client.get(f"/ipfs/{root}?format=car")).content), got)
    assert read_directory(root, got) == files


def test_a_gateway_never_writes(blocks: MemoryBlocks) -> None:
    from proof_store.gateway import _Offered

    offered = _Offered(blocks, frozenset())
    with pytest.raises(TypeError):
        offered.put(Cid.of(RAW, b""), b"")
    with pytest.raises(InvalidError):
        _Offered(blocks, frozenset({Cid.of(RAW, b"")})).get(Cid.of(RAW, b""))
    with pytest.raises(TypeError):
        GatewaySettings(concurrent=0)
