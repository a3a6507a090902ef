"""``orca doctor``: what this machine can do and what it cannot, with the remedy."""

from __future__ import annotations

import typer

from orca.cli.show import AsJson, show_json


def doctor(as_json: AsJson = False) -> int:
    """Examine this machine. Exit 0 if it can run, prove and verify; 1 if something it needs is broken."""
    import asyncio

    return asyncio.run(_doctor(as_json))


async def _doctor(as_json: bool) -> int:
    from orca.examination import examine
    from orca.node import LocalNode
    from orca.settings import load_settings

    async with LocalNode(load_settings()) as node:
        findings = [finding async for finding in examine(node)]
    if as_json:
        show_json([{"part": f.part, "state": f.state, "detail": f.detail, "remedy": f.remedy} for f in findings])
    else:
        for finding in findings:
            remedy = f"\n{'':<31}remedy: {finding.remedy}" if finding.remedy else ""
            typer.echo(f"{finding.part:<22} {finding.state:<8} {finding.detail}{remedy}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0
