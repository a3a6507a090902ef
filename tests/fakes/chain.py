"""A chain of one's own making: the middle server's port, in memory or over HTTP from another process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from middle_server.chain import Stake
from orca_protocol.errors import UnavailableError

NOTHING = Stake(0, 100, is_active=True, is_migrated=False)


@dataclass
class FakeChain:
    """A Chain that says what its attributes say."""

    stakes: dict[str, Stake] = field(default_factory=dict)
    round: int = 7
    paid_out: dict[int, dict[str, int]] = field(default_factory=dict)
    is_down: bool = False
    is_silent: bool = False
    asked: list[str] = field(default_factory=list)

    def put(self, key: str, amount: int = 100, *, minimum: int = 100, is_active: bool = True, is_migrated: bool = False) -> None:
        self.stakes[key] = Stake(amount, minimum, is_active=is_active, is_migrated=is_migrated)

    async def stake(self, task_id: str, key: str) -> Stake:
        await self._answer(f"stake {task_id} {key}")
        return self.stakes.get(key, NOTHING)

    async def current_round(self, task_id: str) -> int:
        await self._answer(f"round {task_id}")
        return self.round

    async def distribution(self, task_id: str, round_number: int) -> Mapping[str, int] | None:
        await self._answer(f"distribution {task_id} {round_number}")
        return self.paid_out.get(round_number)

    async def _answer(self, question: str) -> None:
        self.asked.append(question)
        if self.is_silent:
            await asyncio.sleep(3600)
        if self.is_down:
            raise UnavailableError("chain_unavailable", "the chain is down")


class HttpChain:
    """A Chain that asks a ``chain_server`` in another process."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=5)

    async def stake(self, task_id: str, key: str) -> Stake:
        return Stake(**await self._ask(f"/stake?key={key}"))

    async def current_round(self, task_id: str) -> int:
        return int((await self._ask("/round"))["round"])

    async def distribution(self, task_id: str, round_number: int) -> Mapping[str, int] | None:
        paid_out: dict[str, int] | None = (await self._ask(f"/distribution?round={round_number}"))["paid_out"]
        return paid_out

    async def _ask(self, path: str) -> Any:
        try:
            answer = await self._client.get(path)
        except httpx.HTTPError as error:
            raise UnavailableError("chain_unavailable", "the chain did not answer") from error
        if answer.status_code != 200:
            raise UnavailableError("chain_unavailable", f"the chain answered {answer.status_code}")
        return answer.json()


@contextmanager
def chain_server(chain: FakeChain) -> Iterator[str]:
    """Serve ``chain`` on loopback and yield its address; its attributes may change meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            documents: dict[str, Callable[[], object]] = {
                "/stake": lambda: asdict(chain.stakes.get(query["key"], NOTHING)),
                "/round": lambda: {"round": chain.round},
                "/distribution": lambda: {"paid_out": chain.paid_out.get(int(query["round"]))},
            }
            body = json.dumps(documents[url.path]()).encode()
            self.send_response(503 if chain.is_down else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
