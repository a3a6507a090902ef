"""``orca agent``: the agent's HTTP API, with a worker and an embedded database unless there is one already."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orca import event_loop
from orca.cli.show import AsJson, note


def agent(
    host: Annotated[str, typer.Option(help="Where to listen. Anything but loopback needs ORCA_API_KEY.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, envvar="ORCA_PORT", help="0 takes any free port; the address is printed.")
    ] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Runs at once; the others wait in the queue.")] = 4,
    as_json: AsJson = False,
) -> int:
    """Serve runs over HTTP until it is stopped; runs under way are then handed back and go on at the next start."""
    from orca.agent_service import run_agent
    from orca.cli.logs import log_to_stderr
    from orca.network_settings import load
    from orca.run_settings import RunSettings
    from orca.settings import load_settings
    from orca.store_settings import StoreSettings

    settings = load_settings()
    log_to_stderr((*settings.secrets, *load(StoreSettings).secrets, *load(RunSettings).secrets), level="WARNING")

    def ready(address: str) -> None:
        if as_json:
            typer.echo(json.dumps({"address": address}))
        else:
            note(f"listening on {address}; routes: {address}/docs; stop with Ctrl-C")

    event_loop.run(run_agent(settings, host=host, port=port, workers=workers, ready=ready))
    return 0
