"""How the command line prints: results on stdout, progress and errors on stderr, JSON where asked."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from orca_protocol.errors import OrcaError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def show_json(document: Any) -> None:
    """Print ``document`` on stdout."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def show_error(error: OrcaError, *, as_json: bool) -> None:
    """Print an error for a person on stderr, or as a problem document on stdout."""
    if as_json:
        show_json({"type": f"urn:orca-node:problem:{error.code}", "code": error.code, "detail": error.detail})
    else:
        typer.echo(one_line(f"orca: {error.detail} [{error.code}]"), err=True)


def plain(text: str) -> str:
    """Return a stranger's text without control characters, which a terminal would obey; line ends and tabs stay."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def one_line(text: str) -> str:
    """Return a stranger's text as one line without control characters: it cannot pose as a line of ours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def note(text: str) -> None:
    """Print a remark on stderr."""
    typer.echo(text, err=True)
