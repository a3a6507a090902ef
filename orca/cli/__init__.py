"""The ``orca`` command: its tree, its exit codes, and how errors are shown.

Exit codes: 0 yes, 1 no, 2 could not tell, 64 wrong usage, 130 interrupted. Each command is one file and imports what it
needs only when it runs, so that ``orca --help`` answers at once.
"""

from __future__ import annotations

import sys

import typer

from orca.cli import agent, devnet, doctor, key, middle_server, models, node, proofs, run, verify, work
from orca.cli.show import show_error
from orca_protocol.errors import InvalidError, OrcaError

USAGE = 64
INTERRUPTED = 130

app = typer.Typer(
    name="orca",
    help="A node for AI-agent swarms whose work anyone can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("verify")(verify.verify)
app.command("agent")(agent.agent)
app.command("node")(node.node)
app.command("devnet")(devnet.devnet)
app.add_typer(middle_server.app, name="middle-server")
for command in (work.submit, work.status, work.cancel, work.result, work.stream):
    app.command(command.__name__)(command)
app.command("input")(work.answer)
app.command("doctor")(doctor.doctor)
app.command("models")(models.models)
app.add_typer(proofs.app, name="proofs")
app.add_typer(key.app, name="key")


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = app(arguments, standalone_mode=False)
    except typer.TyperException as error:  # a word that is no command, a wrong option; without any word, the help
        _show_usage(error.format_message(), arguments)
        return USAGE
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return INTERRUPTED
    except OrcaError as error:
        show_error(error, as_json="--json" in arguments)
        return 1 if isinstance(error, InvalidError) else 2
    return result if isinstance(result, int) else 0


def _show_usage(message: str, arguments: list[str]) -> None:
    if "--json" in arguments:
        show_error(InvalidError("usage", message), as_json=True)
    elif arguments:
        typer.echo(f"orca: {message}\nTry: orca --help", err=True)
    else:
        typer.echo(message)
