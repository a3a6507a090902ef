"""Runs that die at a write of their journal: ``python -m tests.fakes.mortal_runs`` imports once and forks a child per order.

An order is a line of JSON on stdin: ``spec``, ``journal`` (a file's path or a PostgreSQL URL), ``asked`` (a file), ``tools`` (the
URL of an MCP server), ``kill`` (at which write the child ends itself by SIGKILL; 0: never) and ``when`` (``before`` the commit or
``after`` it). The answer is a line too: ``signal`` and ``code``, and if the child lived ``output``, ``digest``, ``entries`` and
``writes``. Whatever leaves the child for a model, a tool or an image is first noted in ``asked``, by its request's digest, so that
the count outlives the child. Answers follow from the request alone.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import SecretStr

import orca_agent.store.sqlite
import orca_agent.tools.mcp_client  # what a child would have to load first
from orca_agent.models.base import NO_IMAGES, Deltas, Images
from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.observe.secrets import Secrets
from orca_agent.store.database import Connection
from orca_agent.store.journal import Journal
from orca_agent.store.postgres import PostgresJournal
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.tools.admitted import McpServer, McpSettings
from orca_agent.tools.reach import Reach, Reached
from orca_agent.work.runner import Runner, RunOptions
from orca_engine.item import Item
from orca_engine.machine import Call
from orca_protocol.canonical import digest_of
from orca_protocol.errors import InvalidError
from orca_protocol.journal import Outcome, Path, journal_digest
from orca_protocol.model import Answer, ModelIdentity, ModelRequest, ToolCall, Usage
from orca_protocol.world import ImageRequest, Input, OfferRequest, Request, ToolRequest
from tests.unit.orca_agent.tools.mcp_server import TOKEN
from tests.unit.orca_engine.worlds import deciding

T = TypeVar("T")

#: the name of the MCP server in specs, and of an agent that no model answers for
SOURCE = "sums"
FAILING = "AGENT:FAILS"


class Writes:
    """Counts the commits of this process, and ends it at the one that was ordered."""

    def __init__(self, kill: int, when: str) -> None:
        self.count = 0
        self._kill = kill
        self._when = when

    def begin(self) -> None:
        self.count += 1
        self._die("before")

    def committed(self) -> None:
        self._die("after")

    def _die(self, when: str) -> None:
        if self.count == self._kill and when == self._when:
            os.kill(os.getpid(), signal.SIGKILL)


def mortal_sqlite(writes: Writes) -> Callable[..., sqlite3.Connection]:
    """Return how to connect to a database whose commits are counted."""

    class Mortal(sqlite3.Connection):
        def __exit__(self, *error: Any) -> Any:
            changes = self.in_transaction
            if changes:
                writes.begin()
            result = super().__exit__(*error)
            if changes:
                writes.committed()
            return result

    return functools.partial(sqlite3.connect, factory=Mortal)


class MortalPostgres(PostgresJournal):
    """A journal whose transactions are counted if they change something."""

    def __init__(self, url: str, writes: Writes) -> None:
        super().__init__(url)
        self._count = writes

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as db:
            result = await work(db)
            found = await (await db.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")).fetchone()
            if found == (True,):
                self._count.begin()
        if found == (True,):
            self._count.committed()
        return result


class Noting:
    """Appends to a file what is asked, before it is asked."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, request: Request) -> None:
        os.write(self._file, f"{digest_of(request.document())}\n".encode())


class Following:
    """A provider whose answers follow from the request, a little apart from each other."""

    name = "scripted"

    def __init__(self, item: Item, note: Noting) -> None:
        self._decide = deciding(item)
        self._note = note

    async def models(self) -> tuple[str, ...]:
        return ("m", "lead-model")

    async def complete(self, model: str, request: ModelRequest, on_delta: Deltas | None, images: Images = NO_IMAGES) -> Answer:
        self._note(request)
        await asyncio.sleep(request.seed % 4 / 500)
        if FAILING in request.messages[0].content:
            raise InvalidError("scripted", "this agent fails")
        answer = self._answer(model, request)
        return answer.model_copy(update={"model": ModelIdentity(provider=self.name, model=model)})

    async def close(self) -> None:
        """Nothing is held."""

    def _answer(self, model: str, request: ModelRequest) -> Answer:
        last = request.messages[-1]
        if request.tools and last.role != "tool":
            wanted = [ToolCall(id=f"c{n}", name="add", arguments=json.dumps({"a": request.seed, "b": n})) for n in (1, 2)]
            usage = Usage(input_tokens=9, output_tokens=3)
            identity = ModelIdentity(provider=self.name, model=model)
            return Answer(content="", finish_reason="tool_calls", model=identity, usage=usage, tool_calls=tuple(wanted))
        answer = self._decide(Call(Path(request.seed, 0, 0), "X", request))
        assert isinstance(answer, Answer)
        if request.response_schema is not None and "fulfil the schema" not in last.content and not answer.content.startswith("{"):
            return answer if request.seed % 2 else answer.model_copy(update={"content": "[]"})
        if request.response_schema is not None and not answer.content.startswith("{"):
            return answer.model_copy(update={"content": json.dumps({"said": answer.content})})
        return answer


@dataclass(frozen=True, kw_only=True)
class NotingReach(Reach):
    """What a run reaches, noted."""

    note: Noting

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Reached]:
        note = self.note

        class Noted(Reached):
            async def answer(self, request: OfferRequest | ToolRequest | ImageRequest) -> Outcome:
                note(request)
                return await super().answer(request)

        async with super().opened() as reached:
            yield Noted(reached.sessions, reached.fetching, reached.images)


async def run(order: dict[str, Any], writes: Writes) -> dict[str, Any]:
    """Run the item of an order to its end, going on with what its journal holds."""
    spec = order["spec"].encode()
    item, note = Item.local(spec), Noting(order["asked"])
    reach = NotingReach(mcp=McpSettings((McpServer(SOURCE, order["tools"], SecretStr(TOKEN)),)), note=note)
    where = order["journal"]
    journal: Journal = SqliteJournal(FilePath(where)) if where.startswith("/") else MortalPostgres(where, writes)
    options = RunOptions(retry=Policy(attempts=2, base=0.0))
    runner = Runner(journal, Registry([Following(item, note)], {}), Secrets(), reach=reach, options=options)
    said = {Path(1, 1, 0): Input(content="a person's words")} if "H" in (item.spec.rearrange_flow or "") else None
    finished = await runner.run(item, spec, resume=True, said=said)
    await journal.close()
    return {
        "output": finished.output.model_dump(mode="json", exclude_none=True),
        "digest": journal_digest(finished.entries),
        "entries": [[entry.kind, entry.request_digest] for entry in finished.entries],
        "writes": writes.count,
    }


def child(order: dict[str, Any], told: int) -> None:
    """Be the process that runs, and perhaps dies."""
    writes = Writes(order["kill"], order["when"])
    orca_agent.store.sqlite.sqlite3.connect = mortal_sqlite(writes)  # type: ignore[attr-defined]
    answer = asyncio.run(run(order, writes))
    with os.fdopen(told, "w") as file:
        json.dump(answer, file)


def fork(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order in a child, and say how that ended."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(read)
            child(order, write)
            code = 0
        except BaseException:  # noqa: BLE001 - the outermost frame of a process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    return {"signal": max(0, -ended), "code": max(0, ended), **(json.loads(said) if ended == 0 else {})}


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    importlib.import_module("jsonschema")  # as the client of MCP does when a tool has answered: half a second for each child
    for line in sys.stdin:
        sys.stdout.write(json.dumps(fork(json.loads(line))) + "\n")
        sys.stdout.flush()
