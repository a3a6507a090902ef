"""Every fault of a model server, on every kind of provider, ends as a typed entry of the journal, with the tries it took.

Real servers on loopback, a real journal, whole runs: what is asserted is what a peer would read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orca_agent.models import hosted
from orca_agent.models.base import Caps, Provider
from orca_agent.models.http import HttpClient, HttpSettings
from orca_agent.models.registry import Registry
from orca_agent.models.retry import Policy
from orca_agent.models.ring import ringed
from orca_agent.observe.secrets import Secrets
from orca_agent.store.sqlite import SqliteJournal
from orca_agent.work.runner import Finished, Runner, RunOptions
from orca_engine.item import Item
from orca_engine.replay import replay
from orca_protocol.journal import Entry, journal_bytes, read_journal
from tests.fakes.misbehaving import Fault, Misbehaving, answers, delta, drips, hangs, head, marker, misbehaving, raw, says, sound

KEYS = tuple(f"sk-or-v1-{digit * 32}" for digit in "ab")
KINDS = ("openai", "anthropic", "key ring")
CAPS = Caps(answer_bytes=50_000, body_bytes=1_000_000, event_bytes=100_000, stream_bytes=400_000)
#: seconds without a byte, and in all
SILENCE, WHOLE = 0.15, 0.5


@dataclass
class Scene:
    """A node on one kind of provider."""

    journal: SqliteJournal
    http: HttpClient
    stack: AsyncExitStack
    kind: str

    async def run(self, faults: Mapping[str, Sequence[Fault]], *, url: str = "", streaming: bool = False, **agent: Any) -> Ran:
        """Run one swarm with an agent for each of ``faults``, all of them at once."""
        server = await self.stack.enter_async_context(misbehaving(faults, anthropic=self.kind == "anthropic"))
        registry = Registry([self.provider(url or server.url)], {})
        options = RunOptions(follow=streaming, retry=Policy(attempts=2, base=0.0))
        runner = Runner(self.journal, registry, Secrets(SecretStr(key) for key in KEYS), options=options)
        agents = [{"agent_name": name, "model_name": "m", "system_prompt": marker(name), **agent} for name in faults]
        spec = json.dumps({"task": "TASK", "agents": agents, "swarm_type": "ConcurrentWorkflow"}).encode()
        return Ran(await runner.run(Item.local(spec), spec), server.requests)

    def provider(self, url: str) -> Provider:
        if self.kind == "key ring":
            return ringed("openai", self.http, [SecretStr(key) for key in KEYS], base_url=url, models=("m",), name="ring")
        return hosted(self.kind, self.http, base_url=url, models=("m",), api_key=SecretStr(KEYS[0]))


@dataclass
class Ran:
    """What a run left behind, as a peer reads it."""

    finished: Finished
    requests: dict[str, list[str]]

    @property
    def entries(self) -> dict[str, Entry]:
        """By the name of the fault. The proof holds: replay of the journal's bytes gives the same output."""
        entries = read_journal(journal_bytes(self.finished.entries))
        assert replay(self.finished.item, entries) == self.finished.output
        return {entry.name: entry for entry in entries}

    @property
    def tries(self) -> dict[str, str]:
        """How the tries of each call ended; a try is a request that the server saw, and the last is what the entry says."""
        entries = self.entries
        for name, entry in entries.items():
            last = entry.attempts[-1].outcome
            assert last == ("answer" if entry.error is None else entry.error.code)
            assert len(self.requests.get(name, entry.attempts)) == len(entry.attempts), name
        return {name: " ".join(attempt.outcome for attempt in entry.attempts) for name, entry in entries.items()}

    def keys(self, name: str) -> list[str]:
        """Which keys its requests came with."""
        return [key for request in self.requests[name] for key in KEYS if key in request]


@pytest.fixture(params=KINDS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    http = HttpClient(HttpSettings(connect=1.0, read=SILENCE, total=WHOLE, caps=CAPS))
    journal = SqliteJournal(tmp_path / "journal.db")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(journal.close)
        stack.push_async_callback(http.close)
        yield Scene(journal, http, stack, request.param)


def nested(depth: int) -> bytes:
    return b'{"choices":' + b"[" * depth + b"]" * depth + b"}"


#: what the server does → how the call's tries end; the last is the code of the journal's error
WHOLE_FAULTS: dict[str, tuple[Fault, str]] = {
    "outage": (says(b"down for maintenance", 503), "overloaded overloaded"),
    "a gateway's page": (says(b"<html><h1>502 Bad Gateway</h1></html>", 502), "server_error server_error"),
    "silence before the first byte": (hangs, "timeout timeout"),
    "silence after the headers": (drips(head(length=100), b"", 3600), "timeout timeout"),
    "a slow loris": (drips(head(length=10_000), b" ", 0.05), "timeout timeout"),
    "a slow loris in the headers": (drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05), "timeout timeout"),
    "hangs up without a word": (raw(b""), "disconnected disconnected"),
    "breaks off": (says(b'{"choices": [', off_by=100), "truncated_answer truncated_answer"),
    "breaks off between chunks": (
        raw(head(200, "Transfer-Encoding: chunked") + b'5\r\n{"a":\r\n'),
        "truncated_answer truncated_answer",
    ),
    "does not speak HTTP": (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), "malformed_http malformed_http"),
    "malformed JSON": (says(b'{"choices": [{"message": '), "malformed_answer malformed_answer"),
    "no JSON at all": (says(b"OK"), "malformed_answer malformed_answer"),
    "another shape": (says(b'{"hello": "world"}'), "malformed_answer malformed_answer"),
    "a list": (says(b"[]"), "malformed_answer malformed_answer"),
    "an empty body": (says(b""), "malformed_answer malformed_answer"),
    "a bomb of brackets": (says(nested(200_000)), "malformed_answer malformed_answer"),
    "not UTF-8": (says(b'{"choices": "\xff\xfe"}'), "malformed_answer malformed_answer"),
    "an error inside a success": (says(b'{"error": {"message": "upstream is gone", "code": 502}}'), "server_error server_error"),
    "a model that never stops": (drips(head(), b"x" * 10_000, 0), "body_too_large"),
    "a redirect": (says(b"", 307, "Location: http://127.0.0.1:1/v1/chat/completions"), "redirect_refused"),
    "400": (says(b"no", 400), "bad_request"),
    "403": (says(b"no", 403), "forbidden"),
    "404": (says(b"no", 404), "not_found"),
    "413": (says(b"no", 413), "request_too_large"),
    "418": (says(b"no", 418), "model_refused"),
    "422": (says(b"no", 422), "bad_request"),
}


async def test_each_fault_of_a_whole_answer_is_a_typed_entry(scene: Scene) -> None:
    ran = await scene.run({name: [fault] for name, (fault, _) in WHOLE_FAULTS.items()})
    assert ran.tries == {name: tries for name, (_, tries) in WHOLE_FAULTS.items()}
    assert {entry.kind for entry in ran.entries.values()} == {"error"}
    assert ran.finished.output.status == "error"


async def test_an_answer_longer_than_announced_is_none(scene: Scene) -> None:
    """Whether the bytes behind its end or the JSON without one is noticed first is the client's business."""
    ran = await scene.run({"long": [says(json.dumps(sound(scene.kind == "anthropic")).encode(), off_by=-20)]})
    assert ran.tries["long"] in {"malformed_http malformed_http", "malformed_answer malformed_answer"}


async def test_nobody_listens(scene: Scene) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    assert (await scene.run({"x": [answers]}, url=url)).tries == {"x": "connect_failed connect_failed"}


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorised"), (402, "payment_required")])
async def test_a_refused_key_is_never_asked_with_again(scene: Scene, status: int, code: str) -> None:
    """One key: one try. Two keys: one try each."""
    ran = await scene.run({"x": [says(b"no", status)]})
    is_ring = scene.kind == "key ring"
    assert ran.tries == {"x": f"{code} {code}" if is_ring else code}
    assert ran.keys("x") == list(KEYS if is_ring else KEYS[:1])


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (503, "overloaded")])
async def test_the_servers_wish_is_waited_for(scene: Scene, status: int, code: str) -> None:
    ran = await scene.run({"x": [says(b"later", status, "Retry-After: 0.3"), answers]})
    assert ran.tries == {"x": f"{code} answer"}
    if scene.kind == "key ring" and status == 429:
        assert ran.keys("x") == list(KEYS)  # the other key need not wait
    else:
        assert ran.finished.finished - ran.finished.run.started >= 0.3


async def test_a_fault_that_passes_is_answered_at_the_second_try(scene: Scene) -> None:
    ran = await scene.run({"x": [hangs, answers], "y": [says(b"", 502), answers], "z": [answers]})
    assert ran.tries == {"x": "timeout answer", "y": "server_error answer", "z": "answer"}
    assert ran.finished.output.status == "success"


async def test_fifty_megabytes_are_cut_off_without_being_held(scene: Scene) -> None:
    taken = 0

    async def fifty(server: Misbehaving, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await server.write(writer, head(length=50_000_000) + b'{"choices": [{"message": {"content": "')
        while taken < 50_000_000:
            await server.write(writer, b"x" * 100_000)
            taken += 100_000

    assert (await scene.run({"x": [fifty]})).tries == {"x": "body_too_large"}
    assert taken < CAPS.body_bytes + 8_000_000  # what sockets and buffers hold


def event_stream(*pieces: bytes) -> Fault:
    return raw(head() + b"".join(pieces))


STREAM_FAULTS: dict[str, str] = {
    "breaks off": "truncated_answer truncated_answer",
    "says half an event": "truncated_answer truncated_answer",
    "never stops talking": "answer_too_large",
    "never stops saying nothing": "stream_too_large",
    "an event without end": "event_too_large",
    "one word and then silence": "timeout timeout",
    "words for ever, slowly": "timeout timeout",
    "nonsense": "malformed_answer malformed_answer",
    "not UTF-8": "malformed_stream malformed_stream",
    "an outage on the way": "server_error server_error",
}


def stream_faults(anthropic: bool) -> dict[str, Fault]:
    word = delta(anthropic, "word ")
    error = b'data: {"type": "error", "error": {"message": "gone", "code": 502}}\n\n'
    return {
        "breaks off": event_stream(word, word),
        "says half an event": event_stream(word, b'data: {"choi'),
        "never stops talking": drips(head(), delta(anthropic, "word " * 500), 0),
        "never stops saying nothing": drips(head(), b": still thinking\n\n" * 500, 0),
        "an event without end": drips(head() + b"data: ", b"x" * 10_000, 0),
        "one word and then silence": drips(head() + word, b"", 3600),
        "words for ever, slowly": drips(head(), word, 0.05),
        "nonsense": event_stream(word, b"data: {nonsense\n\n"),
        "not UTF-8": event_stream(word, b"data: \xff\xfe\n\n"),
        "an outage on the way": event_stream(word, error),
    }


async def test_each_fault_of_a_stream_is_a_typed_entry(scene: Scene) -> None:
    ran = await scene.run({name: [fault] for name, fault in stream_faults(scene.kind == "anthropic").items()}, streaming=True)
    assert ran.tries == STREAM_FAULTS


#: what a server says its model called → how the tries end
GARBAGE: dict[str, tuple[Any, str]] = {
    "text": ("call me", "malformed_answer malformed_answer"),
    "nameless": ([{"id": "a", "function": {"name": ""}}], "malformed_answer malformed_answer"),
    "huge": ([{"id": "a", "function": {"name": "t", "arguments": "x" * 60_000}}], "answer_too_large"),
    "many": ([{"function": {"name": f"t{number}"}} for number in range(200)], "answer_too_large"),
}


def calling(anthropic: bool, calls: Any) -> bytes:
    if not anthropic:
        reply = sound(False)
        reply["choices"][0] |= {"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    else:
        functions = [call["function"] for call in calls] if isinstance(calls, list) else [{"name": 7}]
        blocks = [{"type": "tool_use", "name": each["name"], "input": each.get("arguments")} for each in functions]
        reply = {**sound(True), "content": blocks, "stop_reason": "tool_use"}
    return json.dumps(reply).encode()


async def test_garbage_for_tool_calls_is_a_typed_entry(scene: Scene) -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object", "properties": {}}}}
    faults = {name: [says(calling(scene.kind == "anthropic", calls))] for name, (calls, _) in GARBAGE.items()}
    ran = await scene.run(faults, tools_list_dictionary=[tool])
    assert ran.tries == {name: tries for name, (_, tries) in GARBAGE.items()}


async def test_no_key_in_journal_or_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        echo = json.dumps({"error": {"message": f"these keys are no good: {' '.join(KEYS)}"}}).encode()
        ran = await scene.run({"x": [says(echo, 401)]})
    shown = journal_bytes(ran.finished.entries).decode() + caplog.text + str(ran.finished.output)
    assert "no good" in shown
    assert not [key for key in KEYS if key in shown]
