"""``orca models``: what this node can ask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orca.cli.show import AsJson, show_json

if TYPE_CHECKING:
    from orca.node import LocalNode
    from orca_agent.models.registry import CatalogueRow

_Language = Annotated[str | None, typer.Option("--language", help="Only models known to speak it (BCP 47, as en or de-AT).")]
_Vram = Annotated[
    float | None, typer.Option("--min-vram", min=0, help="Only models known to need at most so many GiB of this machine.")
]


def models(language: _Language = None, min_vram: _Vram = None, as_json: AsJson = False) -> int:
    """List the models: configured, reachable, fitting in memory. Exit 0 if at least one can answer, else 1."""
    import asyncio

    return asyncio.run(_models(language, None if min_vram is None else int(min_vram * 2**30), as_json))


async def _models(language: str | None, min_vram: int | None, as_json: bool) -> int:
    from orca.node import LocalNode
    from orca.settings import load_settings

    async with LocalNode(load_settings()) as node:
        rows = [_with_memory(row, node) for row in await node.registry.catalogue(language=language, min_vram=min_vram)]
    if as_json:
        show_json([row.document() for row in rows])
    else:
        for row in rows:
            known = "  ".join(part for part in (row.detail, *_known(row)) if part)
            typer.echo(f"{row.name:<40} {row.provider:<18} {'yes' if row.reachable else 'NO':<4} {known}".rstrip())
    return 0 if any(row.reachable for row in rows) else 1


def _known(row: CatalogueRow) -> list[str]:
    """Return what a person choosing a model asks first: context, and dollars per million tokens in and out."""
    facts = row.facts.document()
    context, price = facts["context_length"], facts["price"]
    said = [] if context is None else [f"{context} tokens"]
    return said if price is None else [*said, f"${price['input']}/${price['output']}"]


def _with_memory(row: CatalogueRow, node: LocalNode) -> CatalogueRow:
    """Say of an embedded model whether it fits; one that does not is not reachable."""
    if row.provider != node.local.name or not row.reachable or row.detail:
        return row
    fit = node.local.fit(row.name)
    return replace(row, reachable=fit.is_enough, detail=str(fit))
