"""``orca key``: the node's Ed25519 key; and the API keys that its agent issues (``api_keys``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orca.cli import api_keys
from orca.cli.show import AsJson, show_json

_HELP = "The node's Ed25519 key, in the JSON form of Solana's tools; and API keys for those who use its agent."

app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode=None)
app.command("issue")(api_keys.issue)
app.command("list")(api_keys.list_keys)
app.command("revoke")(api_keys.revoke)


@app.command("new")
def new(
    devnet: Annotated[int | None, typer.Option(help="Take devnet key N (0-63), which everybody has, instead of a new one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, mode 0600. An existing one is never overwritten."""
    from nacl.signing import SigningKey

    from orca.key_file import refuse_devnet_key, save_key
    from orca.settings import load_settings
    from orca_protocol.keys import devnet_key

    settings = load_settings()
    key = SigningKey.generate() if devnet is None else devnet_key(devnet)
    refuse_devnet_key(key, network=settings.network)
    save_key(key, settings.key_path)
    _show(key, settings.key_path, as_json)


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Print the public key. The secret half is never shown."""
    from orca.key_file import load_key
    from orca.settings import load_settings

    settings = load_settings()
    _show(load_key(settings.key_path, network=settings.network), settings.key_path, as_json)


@app.command("import")
def import_key(file: Annotated[Path, typer.Argument(help="A Solana JSON key file.")], as_json: AsJson = False) -> None:
    """Take over a key that another tool made."""
    from orca.key_file import refuse_devnet_key, save_key
    from orca.settings import load_settings
    from orca_protocol.errors import UnavailableError
    from orca_protocol.keys import secret_from_json

    settings = load_settings()
    try:
        with file.open("rb") as source:
            data = source.read(4097)
    except OSError as error:
        raise UnavailableError("key_unreadable", f"{file}: {error.strerror}") from error
    key = secret_from_json(data, where=str(file))
    refuse_devnet_key(key, network=settings.network)
    save_key(key, settings.key_path)
    _show(key, settings.key_path, as_json)


@app.command("export")
def export(file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")], as_json: AsJson = False) -> None:
    """Write the key, secret half included, to a file of mode 0600 for use with Solana's tools."""
    from orca.key_file import load_key, save_key
    from orca.settings import load_settings

    settings = load_settings()
    key = load_key(settings.key_path, network=settings.network)
    save_key(key, file)
    _show(key, file, as_json)


def _show(key: object, path: Path, as_json: bool) -> None:
    from nacl.signing import SigningKey

    from orca_protocol.keys import public_key_of

    if not isinstance(key, SigningKey):
        raise TypeError("a key is an Ed25519 signing key")
    if as_json:
        show_json({"public_key": public_key_of(key), "file": str(path)})
    else:
        typer.echo(f"{public_key_of(key)}  {path}")
