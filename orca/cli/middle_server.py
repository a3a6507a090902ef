"""``orca middle-server``: serve work to nodes; and make API keys for those who post it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orca.cli.show import AsJson, note, show_json

app = typer.Typer(invoke_without_command=True, help="Hand out work under signed leases, take results and verdicts.")


@app.callback()
def serve(context: typer.Context, as_json: AsJson = False) -> int | None:
    """Serve until told to stop. Settings are environment variables: docs/settings.md."""
    import asyncio

    if context.invoked_subcommand is not None:
        return None
    from orca.cli.logs import log_to_stderr
    from orca.middle_service import serve as run
    from orca.network_settings import MiddleServerSettings, load

    log_to_stderr()

    def ready(where: dict[str, Any]) -> None:
        if as_json:
            typer.echo(_one_line(where))
        else:
            note(f"listening on {where['url']}; nodes sign for {where['audience']}; leases are signed by {where['signer']}")

    asyncio.run(run(load(MiddleServerSettings), ready))
    return 0


@app.command("issue-key")
def issue_key(
    requester: Annotated[str, typer.Argument(help="Who posts work and owes its price: a base58 public key.")],
    name: Annotated[str, typer.Option(help="What the key is for; keys are revoked by name.")] = "default",
    as_json: AsJson = False,
) -> int:
    """Make an API key for a requester; it is shown once and kept by its digest only."""
    import asyncio

    from orca.middle_service import issue
    from orca.network_settings import MiddleServerSettings, load, require

    settings = load(MiddleServerSettings)
    require(DATABASE_URL=settings.database_url)
    url = "" if settings.database_url is None else settings.database_url.get_secret_value()
    secret = asyncio.run(issue(url, requester, name))
    if as_json:
        show_json({"requester": requester, "name": name, "api_key": secret})
    else:
        typer.echo(secret)
        note("keep it now: it is shown once")
    return 0


def _one_line(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document)
