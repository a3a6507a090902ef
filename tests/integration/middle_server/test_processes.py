"""Real server processes on one database: killed between claim and answer, claiming at once, restarted."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psycopg
import pytest
from nacl.signing import SigningKey

from orca.key_file import save_key
from orca_protocol.keys import public_key_of
from tests.fakes.chain import FakeChain, chain_server
from tests.integration.middle_server.room import AUDIENCE, SERVER_KEY, TASK, Room, node_key, payload, room, signed

ROOT = Path(__file__).resolve().parents[3]
FETCH = "/summarizer/worker/fetch-todo"
A, B = node_key(1), node_key(2)


@dataclass
class Process:
    """A server process."""

    popen: subprocess.Popen[str]
    url: str
    out: IO[str]

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    async def post(self, action: str, body: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            return await client.post(f"/summarizer/worker/{action}", json=body)

    async def fetch(self, key: SigningKey, claim: str) -> httpx.Response:
        return await self.post("fetch-todo", fetch_body(key, claim))


def fetch_body(key: SigningKey, claim: str) -> dict[str, str]:
    return signed(payload("fetch-todo", key, time.time(), claimId=claim), key)


@contextmanager
def processes(count: int, database_url: str, chain_url: str, *extra: str) -> Iterator[list[Process]]:
    """Start servers side by side: importing is what takes their time."""
    what = ["-m", "tests.integration.middle_server.serving", "--database", database_url, "--chain", chain_url, *extra]
    started = [_start(*what) for _ in range(count)]
    try:
        yield [_ready(popen) for popen in started]
    finally:
        for popen in started:
            popen.kill()
            popen.wait()
            if popen.stdout is not None:
                popen.stdout.close()


def _start(*what: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, *what]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _ready(popen: subprocess.Popen[str]) -> Process:
    assert popen.stdout is not None
    line = popen.stdout.readline()
    assert line, "the server did not start"
    return Process(popen, f"http://127.0.0.1:{json.loads(line)['port']}", popen.stdout)


@pytest.fixture
def chain() -> FakeChain:
    made = FakeChain()
    for number in range(1, 10):
        made.put(public_key_of(node_key(number)))
    return made


@pytest.fixture
def chain_url(chain: FakeChain) -> Iterator[str]:
    with chain_server(chain) as url:
        yield url


@pytest.fixture
async def middle(database_url: str) -> AsyncIterator[Room]:
    """A room to post items and look at the database from; its clock is the real one."""
    async with room(database_url, time=[time.time()]) as made:
        yield made


async def test_a_server_killed_between_claim_and_answer_neither_loses_the_item_nor_leases_it_twice(
    middle: Room, database_url: str, chain_url: str
) -> None:
    item = await middle.item()
    body = fetch_body(A, "claim-of-node-a--")
    with processes(1, database_url, chain_url, "--hold", FETCH) as (doomed,):
        asking = asyncio.ensure_future(doomed.post("fetch-todo", body))
        assert (await asyncio.to_thread(doomed.out.readline)).strip() == "holding"
        doomed.kill()
        with pytest.raises(httpx.HTTPError):
            await asking
    leased = middle.sql("SELECT id, document FROM middle.leases")
    assert len(leased) == 1, "the claim was committed before the answer"

    with processes(1, database_url, chain_url) as (server,):
        replayed = await server.post("fetch-todo", body)
        claimed = await server.fetch(A, "claim-of-node-a--")
        other = await server.fetch(B, "claim-of-node-b--")
    assert replayed.json() == claimed.json()
    assert (claimed.json()["data"]["id"], claimed.json()["data"]["leaseId"]) == (item, leased[0][0])
    assert claimed.json()["data"]["lease"].encode() == bytes(leased[0][1]), "the same signed bytes"
    assert (other.status_code, other.json()["code"]) == (409, "nothing_available")
    assert middle.sql("SELECT count(*) FROM middle.leases") == [(1,)]


async def test_a_server_killed_within_a_claim_leaves_the_item_in_the_queue(middle: Room, database_url: str, chain_url: str) -> None:
    item = await middle.item()
    with psycopg.connect(database_url) as other, processes(1, database_url, chain_url) as (doomed,):
        other.execute("LOCK TABLE middle.leases IN SHARE MODE")  # the claim has to wait here, its item taken, nothing committed
        asking = asyncio.ensure_future(doomed.fetch(A, "claim-of-node-a--"))
        await _wait_for(
            middle, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%WITH oldest%%'", 1
        )
        doomed.kill()
        with pytest.raises(httpx.HTTPError):
            await asking
        other.rollback()
    await _wait_for(
        middle, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%WITH oldest%%'", 0
    )
    assert await middle.status(item) == "queued"
    with processes(1, database_url, chain_url) as (server,):
        claimed = await server.fetch(B, "claim-of-node-b--")
    assert (claimed.json()["data"]["id"], claimed.json()["data"]["fencingToken"]) == (item, "1")


async def _wait_for(middle: Room, statement: str, count: int) -> None:
    for _ in range(600):
        if middle.sql(statement) == [(count,)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came to {count}: {statement}")


async def test_two_processes_never_lease_an_item_twice(middle: Room, database_url: str, chain_url: str) -> None:
    items = {await middle.item() for _ in range(6)}
    body = fetch_body(A, "claim-of-node-a--")
    with processes(2, database_url, chain_url) as (one, two):
        replayed = await asyncio.gather(*(server.post("fetch-todo", body) for server in (one, two, one, two)))
        asked = [server.fetch(node_key(number), secrets.token_hex(8)) for number in range(2, 10) for server in (one, two)]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in replayed} == {200}
    assert len({answer.content for answer in replayed}) == 1, "the same bytes get the same answer from every process"
    leased = [answer.json()["data"]["id"] for answer in [replayed[0], *answers] if answer.status_code == 200]
    assert sorted(leased) == sorted(items), "each item once, and all of them"
    holders = middle.sql("SELECT worker, count(*) FROM middle.leases GROUP BY worker")
    assert all(count == 1 for _, count in holders), "two nodes on one key have one lease between them"
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert refused <= {"lease_held", "nothing_available"}


async def test_the_command_migrates_an_empty_database_serves_and_stops(empty_url: str, tmp_path: Path) -> None:
    save_key(SERVER_KEY, tmp_path / "key.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": empty_url,
        "ORCA_MIDDLE_KEY_FILE": str(tmp_path / "key.json"),
        "ORCA_MIDDLE_TASK_IDS": TASK,
        "ORCA_MIDDLE_AUDIENCE": AUDIENCE,
        "ORCA_MIDDLE_PORT": "0",
        "ORCA_RPC_URLS": nobody,
    }
    popen = _start("-c", "from orca.cli import main; main()", "middle-server", "--json", environment=environment)
    assert popen.stdout is not None
    try:
        said = json.loads(await asyncio.to_thread(popen.stdout.readline))
        assert (said["signer"], said["audience"]) == (public_key_of(SERVER_KEY), AUDIENCE)
        server = Process(popen, said["url"], popen.stdout)
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            health = (await client.get("/health")).json()
            assert (health["service"], health["status"]) == ("orca-middle-server", "ready")
        answer = await server.fetch(A, "claim-of-node-a--")
        assert (answer.status_code, answer.json()["code"]) == (503, "chain_unavailable")
        assert nobody.removeprefix("http://") not in answer.text, "where the chain is asked is nobody's business"
        popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(popen.wait, 60) == 0
    finally:
        popen.kill()
        popen.wait()
        popen.stdout.close()
