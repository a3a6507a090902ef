"""``orca node``: take leased work, prove it, audit peers, be paid; beside a Koii node's sidecar, or alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from orca import event_loop
from orca.cli.show import AsJson, note


def node(
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Keep the rounds without a Koii node: submit, vote, distribute, collect.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="Where the owner's HTTP listens. Anything but loopback needs ORCA_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, envvar="ORCA_PORT", help="0 takes any free port.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Runs at once.")] = 4,
    as_json: AsJson = False,
) -> int:
    """Join the network that the environment names (docs/settings.md), until told to stop."""
    from orca.cli.logs import log_to_stderr
    from orca.network_settings import NetworkSettings, load
    from orca.node_service import run_node
    from orca.run_settings import RunSettings
    from orca.settings import load_settings
    from orca.store_settings import StoreSettings

    settings, kept = load_settings(), load(StoreSettings)
    log_to_stderr((*settings.secrets, *kept.secrets, *load(RunSettings).secrets))

    def ready(where: dict[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps(where))
        else:
            note(f"node {where['key']}: {where['url']} for its owner, {where['gateway']} for everybody; stop with Ctrl-C")

    event_loop.run(
        run_node(
            settings,
            load(NetworkSettings),
            kept,
            standalone=standalone,
            host=host,
            port=port,
            workers=workers,
            ready=ready,
        )
    )
    return 0
