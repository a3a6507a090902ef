"""``orca proofs``: which proofs a node keeps and where, whether one is still there, and letting go of those whose time is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orca.cli.show import AsJson, note, one_line, show_json
from orca_protocol.errors import InvalidError, OrcaError

if TYPE_CHECKING:
    from orca.client import Server
    from proof_store.base import PinStore
    from proof_store.cid import Cid

app = typer.Typer(help="Where this node's proofs are kept.", no_args_is_help=True, rich_markup_mode=None)

Agent = Annotated[str | None, typer.Option("--server", help="The node's own HTTP; default ORCA_AGENT_URL.")]


@app.command("list")
def show(server: Agent = None, as_json: AsJson = False) -> int:
    """List the newest proofs of a running node and where each is kept. Exit 1 if one of them is kept too seldom."""

    async def tell(there: Server) -> int:
        found = await there.proofs()
        if as_json:
            show_json({"proofs": found})
        for one in [] if as_json else found:
            typer.echo(one_line(_line(one)))
        if not found and not as_json:
            note("no proofs yet")
        return 0 if all(one.get("safe") or one.get("collected_at") for one in found) else 1

    return asyncio.run(_with(server, tell))


@app.command()
def check(cid: Annotated[str, typer.Argument(help="A proof's CID.")], as_json: AsJson = False) -> int:
    """Prove that a proof is still there: read every block of it back from each store that is configured.

    Exit 0 if it is in as many as ORCA_PIN_COPIES asks for, 1 if a store does not have it, 2 if one could not tell.
    """
    return asyncio.run(_check(cid, as_json))


@app.command()
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name them.")] = False,
    server: Agent = None,
    as_json: AsJson = False,
) -> int:
    """Have a running node let go of the proofs that are older than ORCA_RETENTION_DAYS, in every store."""

    async def end(there: Server) -> int:
        found = await there.collect(dry=dry_run)
        if as_json:
            show_json({"collected": found, "dry": dry_run})
        for root in [] if as_json else found:
            typer.echo(one_line(root))
        if not found and not as_json:
            note("no proof's time is over")
        return 0

    return asyncio.run(_with(server, end))


async def _with(server: str | None, do: Any) -> int:
    from orca.client import Server
    from orca.network_settings import ServerSettings, load

    settings = load(ServerSettings)
    async with Server(settings, server or settings.agent_url) as there:
        if there.kind != "orca-agent":
            raise InvalidError("wrong_server", "that is a middle server, which keeps no proofs; name a node: --server URL")
        result: int = await do(there)
        return result


async def _check(text: str, as_json: bool) -> int:
    from orca.network_settings import load
    from orca.node import LocalNode
    from orca.settings import load_settings
    from orca.store_settings import StoreSettings
    from orca.stores import open_stores
    from proof_store.cid import Cid

    root, given = Cid.parse(text), load(StoreSettings)
    async with LocalNode(load_settings(), given) as node, open_stores(given, node.blocks, None) as stores:
        found = [await _read(name, store, root) for name, store in stores.items()]
    if as_json:
        show_json({"cid": str(root), "stores": found})
    for one in [] if as_json else found:
        typer.echo(one_line(f"{one['store']:<10} {one['state']:<8} {one['detail']}"))
    sound = sum(one["state"] == "kept" for one in found)
    if sound >= min(given.pin_copies, len(found)):
        return 0
    return 1 if any(one["state"] == "gone" for one in found) else 2


async def _read(name: str, store: PinStore, root: Cid) -> dict[str, Any]:
    try:
        read = await store.read_back(root)
    except OrcaError as error:
        state = "gone" if error.code == "pin_gone" else "unknown"
        return {"store": name, "state": state, "code": error.code, "detail": error.detail}
    detail = f"{read.blocks} blocks, {read.size} bytes, each of them read and hashed, by {read.path}"
    return {"store": name, "state": "kept", "blocks": read.blocks, "bytes": read.size, "path": read.path, "detail": detail}


def _line(one: dict[str, Any]) -> str:
    if one.get("collected_at"):
        return f"{one['cid']}  {one['kind']:<8} collected {one['collected_at']}"
    stores = ", ".join(f"{pin['store']} {pin['stage']}" + (f" ({pin['error']})" if pin["error"] else "") for pin in one["stores"])
    return f"{one['cid']}  {one['kind']:<8} {'safe' if one['safe'] else 'NOT SAFE'}: {stores}; until {one['keep_until']}"
