"""``orca submit``, ``status``, ``cancel``, ``result``, ``stream``: against a real agent and a real middle server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orca.client import Server
from orca.key_file import save_key
from orca.network_settings import ServerSettings
from orca_agent.models.local import LOCAL_MODELS
from orca_protocol.errors import InvalidError
from orca_protocol.keys import devnet_key, public_key_of
from orca_protocol.lease import open_lease
from tests.integration.middle_server.room import SERVER_KEY, cid_of
from tests.integration.proof_store.serving import scripted
from tests.unit.orca.console import Console, Ended
from tests.unit.orca_agent.api.service import Service, service
from tests.unit.orca_agent.rounds.serving import ServedRoom, served_room

LOCAL = next(iter(LOCAL_MODELS))


class Shell:
    """A console beside servers that run in this very loop."""

    def __init__(self, console: Console) -> None:
        self.console = console

    async def __call__(self, *arguments: object) -> Ended:
        return await asyncio.to_thread(self.console, *arguments)


@pytest.fixture
def shell(console: Console) -> Shell:
    return Shell(console)


@pytest.fixture
async def agent(database_url: str, console: Console) -> AsyncIterator[Service]:
    async with service(database_url) as made:
        console.set(ORCA_AGENT_URL=made.address)
        yield made


@pytest.fixture
async def room(middle_url: str, console: Console) -> AsyncIterator[ServedRoom]:
    async with served_room(middle_url) as made:
        console.set(MIDDLE_SERVER_URL=made.url, ORCA_MIDDLE_API_KEY=made.api_key)
        yield made


# -- an agent -----------------------------------------------------------------------------------------------------------------


async def test_a_run_is_submitted_followed_and_shown(shell: Shell, agent: Service) -> None:
    submitted = await shell("submit", shell.console.spec("A", "B"))
    assert submitted.code == 0
    run = submitted.stdout.strip()
    told = await shell("stream", run, "--json")
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert told.code == 0
    assert events[-1]["event"] == "finished"
    assert [event["number"] for event in events] == sorted({event["number"] for event in events})
    assert (await shell("status", run)).stdout == f"{run}: success\n"
    shown = await shell("result", run)
    assert shown.code == 0
    assert "out(A,1)" in shown.stdout
    assert "success" in shown.stderr
    assert (await shell("result", run, "--json")).document["status"] == "success"


async def test_a_run_is_followed_for_people_on_stderr(shell: Shell, agent: Service) -> None:
    run = (await shell("submit", shell.console.spec("A"))).stdout.strip()
    told = await shell("stream", run)
    assert (told.code, told.stdout) == (0, "")
    assert "[A] asked" in told.stderr
    assert "run finished: success" in told.stderr


async def test_the_same_key_submits_the_same_run_once(shell: Shell, agent: Service) -> None:
    spec = shell.console.spec("A")
    first, second = [await shell("submit", spec, "--idempotency-key", "k", "--json") for _ in range(2)]
    other = await shell("submit", spec, "--json")
    assert first.document["id"] == second.document["id"] != other.document["id"]


async def test_a_run_is_cancelled_and_its_stream_ends_with_a_no(shell: Shell, agent: Service) -> None:
    agent.model.latency["A"] = 30.0
    run = (await shell("submit", shell.console.spec("A"))).stdout.strip()
    refused = await shell("result", run, "--json")
    assert (refused.code, refused.document["code"]) == (1, "run_unended")
    await agent.until(lambda: agent.model.in_flight == 1)
    assert (await shell("cancel", run)).code == 0
    assert (await shell("stream", run)).code == 1


async def test_a_run_that_asks_a_person_shows_what_and_takes_the_answer(shell: Shell, agent: Service) -> None:
    spec = shell.console.spec("A", "B", swarm_type="AgentRearrange", rearrange_flow="A -> H -> B")
    run = (await shell("submit", spec)).stdout.strip()
    async with asyncio.timeout(10):
        while (status := await shell("status", run)).stdout.split("\n")[0] != f"{run}: awaiting_input":
            await asyncio.sleep(0.05)
    assert "user: A: out(A,1)" in status.stdout
    assert f"orca input {run} TEXT" in status.stderr
    assert (await shell("input", run, "OK")).code == 0
    told = await shell("stream", run)
    assert (told.code, "waits for a person" in told.stderr) == (0, True)
    other = await shell("input", run, "not OK", "--json")
    assert (other.code, other.document["code"]) == (1, "input_given")


async def test_a_scheduled_run_is_shown_with_its_moment(shell: Shell, agent: Service) -> None:
    schedule = {"scheduled_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "timezone": "Europe/Madrid"}
    submitted = await shell("submit", shell.console.spec("A", schedule=schedule))
    assert "(Europe/Madrid)" in submitted.stderr
    run = submitted.stdout.strip()
    assert (await shell("status", run)).stdout == f"{run}: scheduled\n"
    assert (await shell("cancel", run)).code == 0


async def test_an_agent_pays_nobody(shell: Shell, agent: Service) -> None:
    refused = await shell("submit", shell.console.spec("A"), "--price", "1.5", "--json")
    assert (refused.code, refused.document["code"]) == (1, "wrong_server")
    assert "--price" in refused.document["detail"]


@pytest.mark.parametrize("command", ["status", "cancel", "result", "stream"])
@pytest.mark.parametrize("run", ["0" * 32, "../../v1", "a/b", "", "run?x"])
async def test_a_run_that_is_not_there_is_a_no(shell: Shell, agent: Service, command: str, run: str) -> None:
    ended = await shell(command, run, "--json")
    assert ended.code == 1, ended.stderr
    assert ended.document["code"] in {"run_unknown", "run_unfollowed", "bad_id"}


# -- a middle server ----------------------------------------------------------------------------------------------------------


async def test_a_work_item_is_posted_for_its_price(shell: Shell, room: ServedRoom) -> None:
    submitted = await shell("submit", shell.console.spec("A", "B"), "--price", "1.5", "--json")
    assert submitted.code == 0, submitted.stderr
    item = submitted.document["id"]
    rows = room.sql("SELECT price, required_checks, models FROM middle.work_items WHERE id = %s", item)
    assert (int(rows[0][0]), rows[0][1]) == (1_500_000, ["integrity", "authenticity", "eligibility", "replay"])
    assert [model["name"] for model in rows[0][2]] == ["scripted"]
    assert (await shell("status", item)).stdout == f"{item}: queued\n"
    absent = await shell("result", item, "--json")
    assert (absent.code, absent.document["code"]) == (1, "result_absent")
    assert (await shell("cancel", item)).stdout == f"{item}: cancelled\n"
    streamed = await shell("stream", item)
    assert (streamed.code, streamed.stdout) == (1, "cancelled\n")


@pytest.mark.parametrize(
    ("options", "has_inference", "names"),
    [
        ((), False, ["scripted"]),
        (("--model", LOCAL), True, [LOCAL]),
        (("--model", f"open=sha256:{'a' * 64}"), True, ["open"]),
        (("--model", LOCAL, "--model", "closed"), False, [LOCAL, "closed"]),
    ],
)
async def test_inference_is_demanded_where_every_model_can_be_decoded_again(
    shell: Shell, room: ServedRoom, options: tuple[str, ...], has_inference: bool, names: list[str]
) -> None:
    submitted = await shell("submit", shell.console.spec("A"), "--price", "1", *options, "--json")
    ((checks, models),) = room.sql("SELECT required_checks, models FROM middle.work_items WHERE id = %s", submitted.document["id"])
    assert ("inference" in checks) is has_inference
    assert [model["name"] for model in models] == names
    assert all("digest" in model for model in models) is has_inference


async def test_the_checks_are_the_ones_that_were_named(shell: Shell, room: ServedRoom) -> None:
    submitted = await shell(
        "submit", shell.console.spec("A"), "--price", "1", "--check", "integrity", "--check", "replay", "--json"
    )
    assert room.sql("SELECT required_checks FROM middle.work_items WHERE id = %s", submitted.document["id"]) == [
        (["integrity", "replay"],)
    ]


async def test_a_middle_server_wants_a_price(shell: Shell, room: ServedRoom) -> None:
    refused = await shell("submit", shell.console.spec("A"), "--json")
    assert (refused.code, refused.document["code"]) == (1, "wrong_server")
    assert "--price" in refused.document["detail"]


async def test_a_work_item_is_followed_through_its_verdicts_to_its_payment(shell: Shell, room: ServedRoom) -> None:
    item = (await shell("submit", shell.console.spec("A"), "--price", "1")).stdout.strip()
    following = asyncio.create_task(shell("stream", item, "--json"))
    node = room.client_of()
    todo = await node.fetch_todo("claim-of-16-chars")
    await node.report(todo, cid_of("proof"))
    await node.enter_round(todo, 7)
    shown = room.sql("SELECT cid FROM middle.results")
    assert shown == [(cid_of("proof"),)]
    await asyncio.sleep(0.1)
    room.chain.paid_out[7] = {todo_worker(todo.lease): 1_000_000}
    await node.settle(7)
    ended = await following
    assert ended.code == 0
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert events[-1]["status"] == "done"
    done = await shell("result", item)
    assert (done.code, done.stdout.split(" ")[0]) == (0, cid_of("proof"))
    assert f"orca verify {cid_of('proof')}" in done.stderr


def todo_worker(document: str) -> str:
    return open_lease(document.encode(), public_key_of(SERVER_KEY)).worker


async def test_a_key_that_the_server_does_not_know_is_a_no(shell: Shell, room: ServedRoom) -> None:
    shell.console.set(ORCA_MIDDLE_API_KEY="orca_unknown")
    refused = await shell("submit", shell.console.spec("A"), "--price", "1", "--json")
    assert (refused.code, refused.document["code"]) == (1, "credentials_unknown")


async def test_an_agents_key_is_not_shown_to_a_middle_server(shell: Shell, room: ServedRoom) -> None:
    given = ServerSettings(
        middle_server_url=room.url, middle_api_key=SecretStr("for-the-middle"), api_key=SecretStr("for-the-agent")
    )
    async with Server(given) as there:
        assert there.http.headers["x-api-key"] == "for-the-middle"
    shell.console.environment.delenv("ORCA_MIDDLE_API_KEY")
    without = ServerSettings(middle_server_url=room.url, api_key=SecretStr("for-the-agent"))
    async with Server(without) as there:
        assert "x-api-key" not in there.http.headers


async def test_what_paying_needs_is_known_before_anything_is_posted(shell: Shell, room: ServedRoom, tmp_path: Path) -> None:
    spec = shell.console.spec("A")
    refused = await shell("submit", spec, "--price", "1", "--fund", "--json")
    assert (refused.code, refused.document["code"]) == (1, "settings_missing")
    assert "ORCA_RPC_URLS, ORCA_TASK_ID" in refused.document["detail"]
    shell.console.set(ORCA_RPC_URLS="http://127.0.0.1:9", ORCA_TASK_ID="x")
    assert (await shell("submit", spec, "--price", "1", "--fund")).code != 0, "there is no key"
    save_key(devnet_key(1), tmp_path / "main.json")
    shell.console.set(ORCA_MAIN_KEY_FILE=str(tmp_path / "main.json"))
    assert (await shell("submit", spec, "--price", "1", "--fund")).code == 1, "a devnet's key on no devnet"
    unpriced = await shell("submit", spec, "--fund", "--json")
    assert (unpriced.code, unpriced.document["code"]) == (1, "price")
    assert room.sql("SELECT count(*) FROM middle.work_items") == [(0,)]


async def test_a_work_item_is_followed_across_an_outage_and_nothing_is_told_twice(
    shell: Shell, middle_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orca.following._LOOK", 0.05)
    monkeypatch.setattr("orca.following._AGAIN", 0.05)
    refused: list[str] = []
    is_away = asyncio.Event()

    def wrap(app: ASGIApp) -> ASGIApp:
        async def falling(scope: Scope, receive: Receive, send: Send) -> None:
            if is_away.is_set() and scope["type"] == "http":
                refused.append(scope["path"])
                await Response(status_code=503)(scope, receive, send)
            else:
                await app(scope, receive, send)

        return falling

    async with served_room(middle_url, wrap=wrap) as room:
        shell.console.set(MIDDLE_SERVER_URL=room.url, ORCA_MIDDLE_API_KEY=room.api_key)
        item = await room.item()
        streaming = asyncio.create_task(shell("stream", item, "--json"))
        await asyncio.sleep(0.5)
        is_away.set()
        async with asyncio.timeout(10):
            while len(refused) < 3:
                await asyncio.sleep(0.01)
        is_away.clear()
        await room.client.post(f"/v1/work-items/{item}/cancel", headers=room.person)
        told = await streaming
    assert [json.loads(line)["status"] for line in told.stdout.splitlines()] == ["queued", "cancelled"]
    assert told.code == 1


# -- neither ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code", "exits"),
    [
        ('{"service":"another"}', 200, "not_a_server", 1),
        ("{}", 200, "not_a_server", 1),
        ("[]", 200, "server_malformed", 2),
        ("<html>", 200, "server_malformed", 2),
        ('{"service":"orca-agent"}', 302, "server_moved", 2),
        ('{"code":"busy","detail":"later"}', 503, "busy", 2),
        ('{"code":"forbidden","detail":"no"}', 403, "forbidden", 1),
    ],
)
async def test_what_is_no_server_of_ours_is_said_so(shell: Shell, body: str, status: int, code: str, exits: int) -> None:
    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nLocation: http://127.0.0.1:9/\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())
        await writer.drain()

    async with scripted(answer) as url:
        ended = await shell("status", "x", "--server", url, "--json")
    assert (ended.code, ended.document["code"]) == (exits, code)


async def test_a_server_that_is_not_there_could_not_tell(shell: Shell) -> None:
    ended = await shell("status", "x", "--server", "http://127.0.0.1:9", "--json")
    assert (ended.code, ended.document["code"]) == (2, "server_unavailable")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://x", "http://", "http://me@x", "http://:pw@x", "http://[::1", "http://x:99999"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="bad_url"):
        Server(ServerSettings(), url)


@pytest.mark.parametrize(("text", "code", "exits"), [(b"\xff", "spec_malformed", 1), (None, "spec_unreadable", 2)])
def test_a_spec_that_cannot_be_read_is_not_posted(console: Console, text: Any, code: str, exits: int) -> None:
    path = console.write(text) if text is not None else console.folder / "nosuch.json"
    ended = console("submit", path, "--server", "http://127.0.0.1:9", "--json")
    assert (ended.code, ended.document["code"]) == (exits, code)


@pytest.mark.parametrize("price", ["0", "-1", "1.1234567", "1e3", "0.0000000", "one", ""])
def test_a_price_is_an_amount_above_nothing(console: Console, price: str) -> None:
    ended = console("submit", console.spec("A"), f"--price={price}", "--json")
    assert (ended.code, ended.document["code"]) == (1, "price")
