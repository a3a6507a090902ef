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

    settings = load(MiddleServerSettings)
    log_to_stderr([settings.database_url])

    def ready(where: dict[str, Any]) -> None:
        if as_json:
            typer.echo(_one_line(where))
        else:
            note(f"listening on {where['url']}; nodes sign for {where['audience']}; leases are signed by {where['signer']}")

    asyncio.run(run(settings, ready))
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

    secret = asyncio.run(issue(_database_url(), requester, name))
    if as_json:
        show_json({"requester": requester, "name": name, "api_key": secret})
    else:
        typer.echo(secret)
        note("keep it now: it is shown once")
    return 0


@app.command("revoke-key")
def revoke_key(
    requester: Annotated[str, typer.Argument(help="Whose keys: a base58 public key.")],
    name: Annotated[str, typer.Option(help="What the keys were made for.")] = "default",
    as_json: AsJson = False,
) -> int:
    """Revoke a requester's API keys of a name, from the next request on. Exit 1 if there were none."""
    import asyncio

    from orca.middle_service import revoke

    count = asyncio.run(revoke(_database_url(), requester, name))
    if as_json:
        show_json({"requester": requester, "name": name, "revoked": count})
    else:
        note(f"{count} keys revoked")
    return 0 if count else 1


def _database_url() -> str:
    from orca.network_settings import MiddleServerSettings, load, require

    given = load(MiddleServerSettings).database_url
    require(DATABASE_URL=given)
    return "" if given is None else given.get_secret_value()


def _one_line(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document)
