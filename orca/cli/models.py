"""``orca models``: what this node can ask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from orca.cli.show import AsJson, show_json

if TYPE_CHECKING:
    from orca.node import LocalNode
    from orca_agent.models.registry import CatalogueRow


def models(as_json: AsJson = False) -> int:
    """List the models: configured, reachable, fitting in memory. Exit 0 if at least one can answer, else 1."""
    import asyncio

    return asyncio.run(_models(as_json))


async def _models(as_json: bool) -> int:
    from orca.node import LocalNode
    from orca.settings import load_settings

    async with LocalNode(load_settings()) as node:
        rows = [_with_memory(row, node) for row in await node.registry.catalogue()]
    if as_json:
        show_json([{"name": row.name, "provider": row.provider, "reachable": row.reachable, "detail": row.detail} for row in rows])
    else:
        for row in rows:
            typer.echo(f"{row.name:<40} {row.provider:<18} {'yes' if row.reachable else 'NO':<4} {row.detail}".rstrip())
    return 0 if any(row.reachable for row in rows) else 1


def _with_memory(row: CatalogueRow, node: LocalNode) -> CatalogueRow:
    """Say of an embedded model whether it fits; one that does not is not reachable."""
    if row.provider != node.local.name or not row.reachable or row.detail:
        return row
    fit = node.local.fit(row.name)
    return replace(row, reachable=fit.is_enough, detail=str(fit))
