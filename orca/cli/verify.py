"""``orca verify``: audit one proof by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orca.cli.show import AsJson, note, one_line, show_json

if TYPE_CHECKING:
    from audit.case import Case
    from audit.source import PackageLimits, Source
    from orca.grounds import Grounds
    from orca.node import LocalNode
    from orca.settings import Settings
    from orca_protocol.verdict import CheckResult, Decision
    from proof_store.cid import Cid


class Level(StrEnum):
    """How far an audit goes."""

    replay = "replay"
    full = "full"


#: what must be valid for a run that nobody leased; a lease names its own list
_REQUIRED = ("integrity", "authenticity", "replay")
_EXIT = {"approve": 0, "reject": 1, "abstain": 2}


def _is_key(signer: str | None) -> str | None:
    """Refuse at once what cannot be a key: it would look like a fault of the proof."""
    from orca_protocol.errors import InvalidError
    from orca_protocol.keys import PUBLIC_KEY_BYTES, decode_base58

    if signer is not None:
        try:
            decode_base58(signer, length=PUBLIC_KEY_BYTES, where="--signer")
        except InvalidError as error:
            raise typer.BadParameter(error.detail) from error
    return signer


def verify(
    proof: Annotated[str, typer.Argument(help="A CID in this node's block store, a folder, or a CAR file.")],
    signer: Annotated[
        str | None, typer.Option(callback=_is_key, help="The key that must have signed, base58. Default: this node's own key.")
    ] = None,
    level: Annotated[
        Level, typer.Option(help="replay: no model needed. full: also decode open-weight answers again.")
    ] = Level.full,
    devnet: Annotated[Path | None, typer.Option(help="The folder of a devnet, running or not, that the proof was made on.")] = None,
    as_json: AsJson = False,
) -> int:
    """Audit a proof: a line per check with its reason and cost. Exit 0 sound, 1 refused, 2 could not tell.

    The signer, the lease and the stake come from the devnet in --devnet, or from the network that the environment names.
    """
    import asyncio

    return asyncio.run(_verify(proof, signer, level, None if devnet is None else devnet.absolute(), as_json))


async def _verify(proof: str, signer: str | None, level: Level, devnet: Path | None, as_json: bool) -> int:
    from audit.auditor import FULL_LEVEL, REPLAY_LEVEL, audit
    from orca.node import LocalNode
    from orca.settings import load_settings
    from orca_protocol.verdict import decide

    async with LocalNode(load_settings()) as node, _grounds(devnet, node.settings) as grounds:
        case = await _case(proof, signer, node, grounds)
        results = []
        async for result in audit(case, REPLAY_LEVEL if level is Level.replay else FULL_LEVEL):
            results.append(result)
            if not as_json:
                _show(result)
    cid = None if case.contents is None else str(case.contents.received.cid)
    decision = decide(results, _REQUIRED if case.lease is None else case.lease.required_checks)
    if as_json:
        show_json(
            {
                "proof": proof,
                "cid": cid,
                "checks": [result.document() for result in results],
                "vote": decision.vote,
                "reason": decision.reason,
            }
        )
    else:
        _show_decision(decision)
    return _EXIT[decision.vote]


@asynccontextmanager
async def _grounds(devnet: Path | None, settings: Settings) -> AsyncIterator[Grounds | None]:
    """Yield what the proof is verified against beside itself, or None where nothing was named."""
    from orca.network_settings import NetworkSettings, load

    given = load(NetworkSettings)
    if devnet is None and not (given.rpc_urls and given.task_id):
        yield None
        return
    from orca.grounds import of_devnet, of_network

    async with of_network(given, settings.network) if devnet is None else of_devnet(devnet) as grounds:
        yield grounds


async def _case(proof: str, signer: str | None, node: LocalNode, grounds: Grounds | None) -> Case:
    from audit.case import Case

    limits = node.settings.package_limits
    case = Case(
        source=_local_source(proof, node, limits),
        limits=limits,
        network=node.settings.network,
        signer=signer,
        own_key=_own_key(node) if signer is None else None,
        redecoder=node.redecoder(),
        inference_rate=node.settings.inference_rate,
    )
    if grounds is None:
        return case
    case.network, case.lease_signer = grounds.network, grounds.lease_signer
    case.chain, case.leases = grounds.chain, grounds.leases
    if (cid := _as_cid(proof)) is not None:
        await _place(case, cid, node, grounds)
    return case


async def _place(case: Case, cid: Cid, node: LocalNode, grounds: Grounds) -> None:
    """Say who must have signed the proof, and for which round, and fetch it. What cannot be found out, the checks will say."""
    from audit.source import fetched
    from orca_protocol.errors import UnavailableError

    try:
        submitted = grounds.submitted(cid, case.signer)
    except UnavailableError as error:
        note(error.detail)
        owner = case.signer or ""
    else:
        owner = case.signer = submitted.worker
        case.expected = grounds.expected(submitted)
        note(f"submitted by {submitted.worker} for round {submitted.round}")
    case.source = await fetched(cid, grounds.blocks(cid, owner, node.blocks, case.limits), case.limits)


def _own_key(node: LocalNode) -> str | None:
    """Return this node's key; one that cannot be used says nothing about a stranger's proof."""
    from orca_protocol.errors import OrcaError

    try:
        return node.public_key()
    except OrcaError as error:
        note(f"this node's own key is left aside: {error.detail}")
        return None


def _as_cid(proof: str) -> Cid | None:
    """Return the CID, unless a file or folder of that name is meant, or it is none."""
    from orca_protocol.errors import InvalidError
    from proof_store.cid import Cid

    with suppress(OSError, ValueError):
        if Path(proof).exists():
            return None
    try:
        return Cid.parse(proof)
    except InvalidError:
        return None


def _local_source(proof: str, node: LocalNode, limits: PackageLimits) -> Source:
    from audit.source import from_blocks, from_car, from_folder
    from orca_protocol.errors import InvalidError
    from proof_store.cid import Cid

    path = Path(proof)
    with suppress(OSError, ValueError):  # a text that no file can have as its name may still be a CID
        if path.is_dir():
            return from_folder(path, limits)
        if path.exists():
            return from_car(path, limits)
    try:
        return from_blocks(Cid.parse(proof), node.blocks, limits)
    except InvalidError as error:
        raise typer.BadParameter(f"{proof[:100]!r} is neither a folder, nor a CAR file, nor a CID ({error.detail})") from error


def _show(result: CheckResult) -> None:
    cost = f"{result.cost.wall_ms} ms"
    if result.cost.tokens:
        cost += f", {result.cost.tokens} tokens"
    code = "" if result.code == "ok" else f" {result.code}:"
    typer.echo(one_line(f"{result.check:<13} {result.verdict:<14}{code} {result.detail}  ({cost})"))


def _show_decision(decision: Decision) -> None:
    words = {"approve": "SOUND", "reject": "REFUSED", "abstain": "COULD NOT TELL"}
    typer.echo(f"{words[decision.vote]}: {decision.reason}")
