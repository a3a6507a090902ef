"""A model server that says what a script tells it: OpenAI- and Anthropic-compatible, in a process of its own, on loopback.

``python -m tests.fakes.scripted_server --latency-ms 50 --script rules.json`` prints ``{"port": …}`` and serves until it is
stopped or ``--max-seconds`` are over. An agent is recognised by ``AGENT:<name>`` in its system prompt (else it is ``?``); its
k-th answer is ``out(<name>,<k>)``. Raw asyncio and no framework: the bench measures its client, not this.

The script is one JSON object, every member optional::

    latency_ms, models: [name…], honest: bool, usage: bool, reply: template, rules: [{marker, reply}…],
    agents: {name: {latency_ms, reply, tool_calls: [[{id, name, arguments}…]…], faults: [fault…]}},
    fault: {first: n, kind, status, headers, message, after}, keys: {key: {first: n, status, headers, message}}

The k-th answer of an agent calls the k-th list of ``tool_calls``, where it has one (``arguments`` is text) and tools are offered.
A key that ``keys`` names is refused with that status, the first n times, whoever calls. Answers say that ``NAME-really`` gave
them, or, if ``honest``, the name that was asked. Templates know ``{agent}`` and ``{k}``. A fault holds for the agent's first n
calls (missing: for all) and is one of: ``status``
(an HTTP error), ``truncated`` (breaks off after ``after`` bytes of the body), ``malformed`` (not JSON), ``huge`` (an answer of
``after`` bytes), ``hang`` (no answer), ``held`` (no answer before ``POST /_release``), ``disconnect``, ``null`` (no content),
``filtered``, ``tools``, ``raw`` (``message`` is the whole body). ``GET /_stats`` returns what happened (``?prompts=0`` leaves
the prompts out), ``POST /_reset`` forgets it and, with a body, installs that script.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

_AGENT = re.compile(r"AGENT:([^\s,;.]+)")
_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}
_KEPT_REQUESTS = 20_000


@dataclass
class World:
    """The script and everything that has been asked so far."""

    script: dict[str, Any]
    latency: float
    requests: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    total: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    connections: int = 0
    #: the heads of requests for the listing of models
    listing_heads: list[str] = field(default_factory=list)
    #: how often each key that the script names was refused
    refused: dict[str, int] = field(default_factory=dict)
    #: set once the answers that are held may go
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def forget(self) -> None:
        """Start counting anew. What was held goes: its asker waits for nothing that will still come."""
        self.released.set()
        self.released = asyncio.Event()
        self.requests, self.calls, self.answered, self.listing_heads, self.refused = [], {}, {}, [], {}
        self.total = self.in_flight = self.max_in_flight = self.connections = 0

    def stats(self, prompts: bool) -> dict[str, Any]:
        """Return the counts, and the requests themselves if asked for."""
        counts: dict[str, Any] = {
            "total": self.total,
            "calls": self.calls,
            "answered": self.answered,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": self.connections,
        }
        return {**counts, "requests": self.requests, "listing_heads": self.listing_heads} if prompts else counts

    def refusal(self, head: str) -> dict[str, Any] | None:
        """Return what the script has for the key in ``head``, if anything."""
        for key, fault in self.script.get("keys", {}).items():
            if key in head and self.refused.get(key, 0) < fault.get("first", 2**31):
                self.refused[key] = self.refused.get(key, 0) + 1
                return {"kind": "status", **fault}
        return None


@dataclass(frozen=True)
class Plan:
    """What to say to one call."""

    agent: str
    text: str
    latency: float
    fault: Mapping[str, Any]
    calls: Sequence[Mapping[str, str]] = ()


def plan(world: World, system: str) -> Plan:
    """Recognise the agent, count the call and look up what the script says."""
    found = _AGENT.search(system)
    agent = found.group(1) if found else "?"
    count = world.calls[agent] = world.calls.get(agent, 0) + 1
    world.total += 1
    script = world.script
    rule = script.get("agents", {}).get(agent, {})
    latency = rule["latency_ms"] / 1000 if "latency_ms" in rule else world.latency
    fault: Mapping[str, Any] = next((f for f in rule.get("faults", ()) if count <= f.get("first", 2**31)), {})
    if fault and fault["kind"] in ("status", "hang", "disconnect", "truncated", "malformed", "raw"):
        return Plan(agent, "", latency, fault)
    k = world.answered[agent] = world.answered.get(agent, 0) + 1
    template = rule.get("reply") or next((r["reply"] for r in script.get("rules", ()) if r["marker"] in system), None)
    template = template or script.get("reply", "out({agent},{k})")
    text = template.replace("{agent}", agent).replace("{k}", str(k))
    calls = rule.get("tool_calls", ())[k - 1 : k]
    return Plan(agent, "x" * int(fault["after"]) if fault.get("kind") == "huge" else text, latency, fault, *calls)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 keep-alive connection; asyncio switches Nagle's delay off by itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._world.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._world.in_flight -= self._open
        self._open = 0
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            found = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            length = int(found.group(1)) if found else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(" ", 2)
            self._route(method, target, body, head)

    def _route(self, method: str, target: str, body: bytes, head: str) -> None:
        path, _, query = target.partition("?")
        if method == "POST" and path.endswith("/chat/completions"):
            self._call(json.loads(body), head, OpenAIWire())
        elif method == "POST" and path.endswith("/messages"):
            self._call(json.loads(body), head, AnthropicWire())
        elif path == "/_stats":
            self._json(self._world.stats("prompts=0" not in query))
        elif path == "/_reset":
            self._world.forget()
            if body:
                self._world.script = json.loads(body)
                self._world.latency = self._world.script.get("latency_ms", self._world.latency * 1000) / 1000
            self._json({})
        elif path == "/_release":
            self._world.released.set()
            self._json({})
        elif path.endswith("/key"):
            refusal = self._world.refusal(head)
            self.write(200 if refusal is None else refusal["status"], b"{}")
        elif path.endswith("/models"):
            self._world.listing_heads.append(head)
            listing = self._world.script.get("listing")
            names = self._world.script.get("models", ["scripted"])
            self._json(listing or {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        else:
            self.write(404, b'{"error": {"message": "no such route"}}')

    def _call(self, request: dict[str, Any], head: str, wire: Wire) -> None:
        world = self._world
        system = wire.system(request)
        refusal = world.refusal(head)
        planned = plan(world, system) if refusal is None else Plan("?", "", 0.0, refusal)
        world.total += refusal is not None
        world.in_flight += 1
        self._open += 1
        world.max_in_flight = max(world.max_in_flight, world.in_flight)
        if len(world.requests) < _KEPT_REQUESTS:
            sent = {"at": time.monotonic(), "agent": planned.agent, "in_flight": world.in_flight, "request": request, "head": head}
            world.requests.append(sent)
        if planned.fault.get("kind") == "hang":
            return
        if planned.fault.get("kind") == "held":
            self._keep(self._held(request, planned, wire))
        else:
            self._answer(request, planned, wire)

    async def _held(self, request: dict[str, Any], planned: Plan, wire: Wire) -> None:
        await self._world.released.wait()
        self._answer(request, planned, wire)

    def _answer(self, request: dict[str, Any], planned: Plan, wire: Wire) -> None:
        if not request.get("tools"):
            planned = replace(planned, calls=())
        if not self._world.script.get("honest"):
            request = {**request, "model": f"{request['model']}-really"}
        if request.get("stream") and planned.fault.get("kind") not in ("status", "disconnect", "raw"):
            self._keep(self._stream(request, planned, wire))
        else:
            asyncio.get_running_loop().call_later(planned.latency, self._whole, request, planned, wire)

    def _keep(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _whole(self, request: dict[str, Any], planned: Plan, wire: Wire) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._done()
        fault, kind = planned.fault, planned.fault.get("kind")
        if kind == "status":
            error = {"type": "error", "error": {"message": fault.get("message", "scripted"), "type": fault.get("type", "scripted")}}
            self.write(fault["status"], json.dumps(error).encode(), fault.get("headers", {}))
        elif kind == "disconnect":
            self._transport.abort()
        elif kind in ("raw", "malformed"):
            self.write(200, str(fault.get("message", '{"choices": [')).encode())
        else:
            body = json.dumps(wire.whole(request, planned, usage=self._world.script.get("usage", True))).encode()
            self.write(200, body, cut=fault.get("after", 10) if kind == "truncated" else None)

    async def _stream(self, request: dict[str, Any], planned: Plan, wire: Wire) -> None:
        assert self._transport is not None
        pieces = re.findall(r"\S+\s*|\s+", planned.text) or [""]
        fault, kind = planned.fault, planned.fault.get("kind")
        events = wire.events(request, planned, pieces, usage=self._world.script.get("usage", True))
        if kind == "malformed":
            events = ["data: {nonsense\n\n"]
        elif kind == "truncated":
            events = wire.events(request, planned, ["partial ", "answer"], usage=False)[: fault.get("after", 2)]
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(planned.latency)
        for event in events:
            data = event.encode()
            self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))
            if len(events) > 8:  # a long answer arrives in many reads, a short one may arrive in one
                await asyncio.sleep(self._world.script.get("piece_ms", 0) / 1000)
        self._done()
        if kind == "truncated" and not fault.get("clean"):
            self._transport.close()
        else:
            self._transport.write(b"0\r\n\r\n")

    def _done(self) -> None:
        self._open -= 1
        self._world.in_flight -= 1

    def _json(self, document: Any) -> None:
        self.write(200, json.dumps(document).encode())

    def write(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, cut: int | None = None) -> None:
        """Send one whole response; ``cut`` breaks off after that many bytes of the body."""
        assert self._transport is not None
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Scripted')}\r\nContent-Type: application/json\r\n{more}"
        self._transport.write(
            f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + (body if cut is None else body[:cut])
        )
        if cut is not None:
            self._transport.close()


class Wire:
    """How one wire format spells a request's system prompt and an answer."""

    def system(self, request: dict[str, Any]) -> str:
        raise NotImplementedError

    def whole(self, request: dict[str, Any], planned: Plan, *, usage: bool) -> dict[str, Any]:
        raise NotImplementedError

    def events(self, request: dict[str, Any], planned: Plan, pieces: list[str], *, usage: bool) -> list[str]:
        raise NotImplementedError


class OpenAIWire(Wire):
    """``/chat/completions``."""

    def system(self, request: dict[str, Any]) -> str:
        return "\n".join(message["content"] for message in request["messages"] if message["role"] == "system")

    def whole(self, request: dict[str, Any], planned: Plan, *, usage: bool) -> dict[str, Any]:
        content, finish = _content(planned)
        reply: dict[str, Any] = {"id": "scripted", "object": "chat.completion", "model": request["model"]}
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if planned.calls:
            message["tool_calls"] = [
                {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
                for call in planned.calls
            ]
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": finish}]
        return {**reply, "usage": self._usage(request, planned)} if usage else reply

    def events(self, request: dict[str, Any], planned: Plan, pieces: list[str], *, usage: bool) -> list[str]:
        content, finish = _content(planned)
        head: dict[str, Any] = {"id": "scripted", "object": "chat.completion.chunk", "model": request["model"]}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
        deltas += [{"content": piece} for piece in pieces] if content is not None else []
        for index, call in enumerate(planned.calls):
            begun = {"name": call["name"], "arguments": ""}
            deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": begun}]})
            deltas += [
                {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                for piece in re.findall(r".{1,7}", call["arguments"])
            ]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if usage and request.get("stream_options", {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": self._usage(request, planned)})
        return [": heartbeat\n\n", *(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]

    def _usage(self, request: dict[str, Any], planned: Plan) -> dict[str, int]:
        asked = sum(len(str(message["content"]).split()) for message in request["messages"])
        said = len(planned.text.split())
        return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


class AnthropicWire(Wire):
    """``/v1/messages``."""

    def system(self, request: dict[str, Any]) -> str:
        return str(request.get("system", ""))

    def whole(self, request: dict[str, Any], planned: Plan, *, usage: bool) -> dict[str, Any]:
        content, finish = _content(planned)
        blocks: list[dict[str, Any]] = [] if content is None else [{"type": "text", "text": content}]
        blocks += [
            {"type": "tool_use", "id": call["id"], "name": call["name"], "input": json.loads(call["arguments"])}
            for call in planned.calls
        ]
        reply: dict[str, Any] = {"id": "scripted", "type": "message", "role": "assistant", "model": request["model"]}
        return {**reply, "content": blocks, "stop_reason": _STOP.get(finish, finish), **(self._usage(planned) if usage else {})}

    def events(self, request: dict[str, Any], planned: Plan, pieces: list[str], *, usage: bool) -> list[str]:
        content, finish = _content(planned)
        start: dict[str, Any] = {**self.whole(request, planned, usage=False), "content": [], "stop_reason": None}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**start, "usage": {"input_tokens": 7}}},
            {"type": "ping"},
        ]
        if content is not None:
            events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            events += [
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
            ]
            events.append({"type": "content_block_stop", "index": 0})
        for index, call in enumerate(planned.calls, start=1):
            block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events += [
                {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}
                for piece in ["", *re.findall(r".{1,7}", call["arguments"])]
            ]
            events.append({"type": "content_block_stop", "index": index})
        counted = {"usage": {"output_tokens": len(planned.text.split())}} if usage else {}
        events.append({"type": "message_delta", "delta": {"stop_reason": _STOP.get(finish, finish)}, **counted})
        events.append({"type": "message_stop"})
        return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]

    def _usage(self, planned: Plan) -> dict[str, dict[str, int]]:
        return {"usage": {"input_tokens": 7, "output_tokens": len(planned.text.split())}}


_STOP = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


def _content(planned: Plan) -> tuple[str | None, str]:
    special = {"null": "stop", "filtered": "content_filter", "tools": "tool_calls"}
    kind = planned.fault.get("kind")
    if planned.calls:
        return None, "tool_calls"
    return (None, special[kind]) if kind in special else (planned.text, "stop")


async def serve(world: World, port: int, max_seconds: float) -> None:
    """Serve on loopback until ``max_seconds`` are over; says its port first."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(world), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201 - this line is its interface
    async with server:
        await asyncio.sleep(max_seconds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="a scripted model server for tests and benches")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--max-seconds", type=float, default=600.0)
    given = parser.parse_args()
    script = json.loads(given.script.read_text()) if given.script else {}
    world = World(script, script.get("latency_ms", given.latency_ms) / 1000)
    try:
        asyncio.run(serve(world, given.port, given.max_seconds))
    except KeyboardInterrupt:
        sys.exit(130)


@dataclass(frozen=True)
class ScriptedServer:
    """A running server, seen from the test's process."""

    url: str

    @property
    def openai(self) -> str:
        """The base URL for an OpenAI-compatible client."""
        return f"{self.url}/v1"

    def stats(self, *, prompts: bool = True) -> dict[str, Any]:
        """Return the counts and requests so far."""
        return dict(self._ask(f"/_stats?prompts={int(prompts)}", None))

    def reset(self, script: Mapping[str, Any] | None = None) -> None:
        """Forget what was asked; install ``script`` if one is given."""
        self._ask("/_reset", b"" if script is None else json.dumps(script).encode())

    def release(self) -> None:
        """Let the answers go that are held."""
        self._ask("/_release", b"")

    def _ask(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(self.url + path, data=body, method="GET" if body is None else "POST")  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.load(response)


@contextmanager
def scripted_server(*, latency_ms: float = 0.0, max_seconds: float = 300.0) -> Iterator[ScriptedServer]:
    """Run a server in another process for the length of the block; ``reset`` gives it its script."""
    command = [
        sys.executable,
        "-m",
        "tests.fakes.scripted_server",
        "--latency-ms",
        str(latency_ms),
        "--max-seconds",
        str(max_seconds),
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ScriptedServer(f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}")
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
