"""``orca submit``, ``status``, ``cancel``, ``result``, ``stream``: work at an agent or a middle server, from another shell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orca.cli.show import AsJson, note, one_line, plain, show_json
from orca_protocol.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from nacl.signing import SigningKey

    from orca.client import Server, WorkItem
    from orca.network_settings import NetworkSettings

ServerUrl = Annotated[
    str | None,
    typer.Option("--server", help="An agent's or a middle server's address; default MIDDLE_SERVER_URL, else ORCA_AGENT_URL."),
]
Id = Annotated[str, typer.Argument(help="What `orca submit` answered.")]


def submit(
    spec: Annotated[Path, typer.Argument(help="A SwarmSpec in JSON.")],
    price: Annotated[str | None, typer.Option(help="What the work is worth, in $SWARMS: posts it to a middle server.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=sha256:…: whose answers count. Default: the names in the spec.")
    ] = None,
    check: Annotated[list[str] | None, typer.Option(help="A check that must be valid. Default: all that the models allow.")] = None,
    fund: Annotated[bool, typer.Option("--fund", help="Pay the price into the task's pot, signed by ORCA_MAIN_KEY_FILE.")] = False,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key posts the same thing once.")] = None,
    server: ServerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Post a spec: at an agent it runs at once; at a middle server, with --price, nodes compete for it."""
    from orca.cli.devnet import base_units

    amount = None if price is None else base_units(price)
    return asyncio.run(_submit(_read(spec), amount, tuple(model or ()), tuple(check or ()), fund, key, server, as_json))


def status(name: Id, server: ServerUrl = None, as_json: AsJson = False) -> int:
    """Say how it stands."""

    async def show(there: Server) -> int:
        document = await there.status(name)
        _show(document, as_json, f"{name}: {document.get('status')}")
        if not as_json:
            _show_questions(document)
        return 0

    return asyncio.run(_with(server, show))


def cancel(name: Id, server: ServerUrl = None, as_json: AsJson = False) -> int:
    """End it: a run keeps what was answered; a work item can be taken back until somebody has reported a result."""

    async def end(there: Server) -> int:
        document = await there.cancel(name)
        _show(document, as_json, f"{name}: {document.get('status')}")
        return 0

    return asyncio.run(_with(server, end))


def answer(
    name: Id,
    text: Annotated[str, typer.Argument(help="What you say.")],
    path: Annotated[str | None, typer.Option(help="Which question, where a run asks several at once.")] = None,
    server: ServerUrl = None,
    as_json: AsJson = False,
) -> int:
    """Answer what a run asks people at the H of its flow; `orca status` shows what that is."""

    async def give(there: Server) -> int:
        document = await there.give_input(name, text, path)
        _show(document, as_json, f"{name}: {document.get('status')}")
        return 0

    return asyncio.run(_with(server, give))


def result(name: Id, server: ServerUrl = None, as_json: AsJson = False) -> int:
    """Show what came of it: a run's output, or the proof that stands for a work item. Exit 1 while there is none."""

    async def show(there: Server) -> int:
        document = await there.result(name)
        if as_json:
            show_json(document)
        elif there.kind == "orca-agent":
            _show_output(document)
        else:
            typer.echo(one_line(f"{document.get('cid')} by {document.get('worker')}, round {document.get('round')}"))
            note(
                one_line(
                    f"{document.get('status')}, outcome {document.get('outcome')}; verify it: orca verify {document.get('cid')}"
                )
            )
        return 0

    return asyncio.run(_with(server, show))


def stream(name: Id, server: ServerUrl = None, as_json: AsJson = False) -> int:
    """Follow it to its end: a run's events as they come; a work item's statuses and the verdicts on it. Exit 0 success, 1 other."""

    async def follow(there: Server) -> int:
        return await (_stream_run(there, name, as_json) if there.kind == "orca-agent" else _stream_item(there, name, as_json))

    return asyncio.run(_with(server, follow))


async def _submit(
    spec: str,
    amount: int | None,
    models: tuple[str, ...],
    checks: tuple[str, ...],
    fund: bool,
    key: str | None,
    server: str | None,
    as_json: bool,
) -> int:
    item = None if amount is None else _item(spec, amount, models, checks)
    if fund and amount is None:
        raise InvalidError("price", "--fund pays the price into the pot: say --price as well")
    purse = _purse() if fund else None

    async def post(there: Server) -> int:
        document = await there.submit(spec, item, idempotency_key=key)
        if purse is not None and amount is not None:
            document["funded"] = await _fund(*purse, amount, str(document.get("id")))
        _show(document, as_json, str(document.get("id")))
        if not as_json and isinstance(scheduled := document.get("scheduled"), dict):
            note(one_line(f"begins at {scheduled.get('local')} ({scheduled.get('timezone')}); until then `orca cancel` ends it"))
        return 0

    return await _with(server, post)


def _item(spec: str, amount: int, models: tuple[str, ...], checks: tuple[str, ...]) -> WorkItem:
    from orca.client import WorkItem
    from orca_agent.models.local import LOCAL_MODELS
    from orca_protocol.spec import read_spec

    names = models or read_spec(spec.encode()).model_names
    allowed = []
    for text in names:
        name, _, digest = text.partition("=")
        weights = LOCAL_MODELS.get(name)
        known = digest or (f"sha256:{weights.sha256}" if weights is not None else "")
        allowed.append({"name": name} | ({"digest": known} if known else {}))
    required = checks or ("integrity", "authenticity", "eligibility", "replay")
    if not checks and all("digest" in one for one in allowed):
        required = (*required, "inference")
    return WorkItem(amount, tuple(allowed), required)


def _purse() -> tuple[SigningKey, NetworkSettings, Path]:
    """Return who pays, into which task's pot, and where payments are kept: known before anything is posted."""
    from orca.key_file import load_key
    from orca.network_settings import NetworkSettings, load, require
    from orca.settings import load_settings

    settings, network = load_settings(), load(NetworkSettings)
    require(ORCA_RPC_URLS=network.rpc_urls, ORCA_TASK_ID=network.task_id)
    key = load_key(network.main_key_file or settings.home / "main.json", network=settings.network)
    return key, network, settings.home / "funded"


async def _fund(key: SigningKey, network: NetworkSettings, folder: Path, amount: int, item: str) -> str:
    """Pay into the pot of the task, saying for which work item; returns the transaction's signature."""
    from koii_chain.client import ChainClient
    from koii_chain.rpc import JsonRpc, RpcSettings
    from orca.funding import fund

    client = ChainClient(JsonRpc(RpcSettings(network.rpc_urls)))
    try:
        return await fund(client, key, network.task_id or "", amount, item, folder)
    finally:
        await client.close()


async def _with(server: str | None, act: Any) -> int:
    from orca.client import Server
    from orca.network_settings import ServerSettings, load

    async with Server(load(ServerSettings), server) as there:
        return int(await act(there))


async def _stream_run(there: Server, name: str, as_json: bool) -> int:
    import json

    from orca.cli.progress import RemoteProgress
    from orca.following import follow

    progress, ending = RemoteProgress(), ""
    async for told in follow(there.http, name):
        if as_json:
            typer.echo(json.dumps({"event": told.kind, **told.body}))
        else:
            progress.told(told.kind, told.body)
        ending = str(told.body.get("status", told.kind))
    return 0 if ending == "success" else 1


async def _stream_item(there: Server, name: str, as_json: bool) -> int:
    import json

    from orca.following import follow_item

    status = ""
    async for told in follow_item(there, name):
        if told["event"] == "status":
            status = str(told["status"])
        text = f"{told['auditor']}: {told['vote']}: {told['reason']}" if told["event"] == "verdict" else status.replace("_", " ")
        typer.echo(json.dumps(told) if as_json else one_line(text))
    return 0 if status == "done" else 1


def _read(path: Path) -> str:
    from orca_protocol.spec import SPEC_MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(SPEC_MAX_BYTES + 1).decode()
    except UnicodeDecodeError as error:
        raise InvalidError("spec_malformed", f"{path} is not UTF-8") from error
    except (OSError, ValueError) as error:
        raise UnavailableError("spec_unreadable", f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _show(document: dict[str, Any], as_json: bool, line: str) -> None:
    if as_json:
        show_json(document)
    else:
        typer.echo(one_line(line))


def _show_questions(document: dict[str, Any]) -> None:
    for question in document.get("asked") or ():
        for message in question.get("messages", ()):
            typer.echo(f"{one_line(str(message.get('role')))}: {plain(str(message.get('content')))}\n")
        note(one_line(f"[{question.get('step')}] is asked to go on from this: orca input {document.get('id')} TEXT"))


def _show_output(document: dict[str, Any]) -> None:
    for message in document.get("output", ()):
        error = message.get("error")
        said = message.get("content") if error is None else f"(no answer: {error.get('detail')} [{error.get('code')}])"
        typer.echo(f"## {one_line(str(message.get('role')))}\n\n{plain(str(said))}\n")
    note(one_line(str(document.get("status"))))
