"""``orca verify``: audit one proof by hand."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orca.cli.show import AsJson, note, one_line, show_json

if TYPE_CHECKING:
    from audit.source import PackageLimits, Source
    from orca.node import LocalNode
    from orca.settings import Settings
    from orca_protocol.verdict import CheckResult, Decision


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
    as_json: AsJson = False,
) -> int:
    """Audit a proof: a line per check with its reason and cost. Exit 0 sound, 1 refused, 2 could not tell."""
    import asyncio

    return asyncio.run(_verify(proof, signer, level, as_json))


async def _verify(proof: str, signer: str | None, level: Level, as_json: bool) -> int:
    from audit.auditor import FULL_LEVEL, REPLAY_LEVEL, audit
    from audit.case import Case
    from orca.node import LocalNode
    from orca.settings import load_settings
    from orca_protocol.verdict import decide

    async with LocalNode(load_settings()) as node:
        limits = _limits(node.settings)
        case = Case(
            source=_source(proof, node, limits),
            limits=limits,
            network=node.settings.network,
            signer=signer,
            own_key=_own_key(node) if signer is None else None,
            redecoder=node.redecoder(),
            inference_rate=node.settings.inference_rate,
        )
        results = []
        async for result in audit(case, REPLAY_LEVEL if level is Level.replay else FULL_LEVEL):
            results.append(result)
            if not as_json:
                _show(result)
    cid = None if case.contents is None else str(case.contents.received.cid)
    decision = decide(results, _REQUIRED)
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


def _own_key(node: LocalNode) -> str | None:
    """Return this node's key; one that cannot be used says nothing about a stranger's proof."""
    from orca_protocol.errors import OrcaError

    try:
        return node.public_key()
    except OrcaError as error:
        note(f"this node's own key is left aside: {error.detail}")
        return None


def _limits(settings: Settings) -> PackageLimits:
    from audit.source import PackageLimits

    return PackageLimits(
        total_bytes=settings.package_max_bytes,
        files=settings.package_max_files,
        depth=settings.package_max_depth,
        line_bytes=settings.package_max_line_bytes,
        seconds=settings.package_max_seconds,
    )


def _source(proof: str, node: LocalNode, limits: PackageLimits) -> Source:
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
