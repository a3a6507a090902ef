"""The processes of one server: how it is started under a shell that outlives its owner by a moment, and how all of it is ended.

The end is certain: what a signal did not end gets a stronger one, and what none of them ended is an error. What belongs
to a server is told by the directory it works in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from orca.postgres.account import Account, start_as
from orca.postgres.places import Places
from orca_protocol.errors import UnavailableError

_LOG_MAX_BYTES = 4 * 1024 * 1024

# Stands between owner and server. The end of standard input is the end of the owner; the signal is repeated because a
# server that is only just starting does not hear the first. As the server's parent it also sees to it that a killed server
# leaves no zombie, whose number PostgreSQL would take for a living one.
_KEEPER = """
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ while read -r _ <&3; do :; done; while kill -INT "$server"; do sleep 0.2; done; } 2>/dev/null &
watch=$!
exec 3<&-
wait "$server"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"""


def launch(programs: Path, places: Places, account: Account, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server under its keeper, away from the terminal's signals."""
    if places.log.exists() and places.log.stat().st_size > _LOG_MAX_BYTES:
        places.log.replace(places.log.with_name("log.old"))
    server = [str(programs / "postgres"), "-D", str(places.data)]
    ours = {
        "listen_addresses": "",
        "hba_file": str(places.root / "hba.conf"),
        "ident_file": str(places.root / "ident.conf"),
        "unix_socket_directories": str(places.socket),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "log_line_prefix": "%m [%p] ",
    }
    for setting, value in {**settings, **ours}.items():
        server += ["-c", f"{setting}={value}"]
    with places.log.open("ab") as output:
        places.log.chmod(0o600)
        return start_as(account, ["/bin/sh", "-c", _KEEPER, "orca-postgres", *server], subprocess.PIPE, output, output)


def end_keeper(keeper: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the keeper stop its server; one that takes too long is left to ``end_leftovers``."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait(seconds)


def end_leftovers(data: Path, seconds: float) -> None:
    """End every server process of ``data`` and remove the process number that the last server left there.

    A server's processes are those that work in its data directory. The number in the file does not say it: numbers are given
    again, and a killed process keeps its own until its parent asks how it ended.
    """
    for told in (None, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if told is not None:
            for process in _postmaster(data) or _processes_in(data):
                with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                    os.kill(process, told)
        until = time.monotonic() + (2.0 if told is None else min(seconds, 10.0))
        while _processes_in(data) and time.monotonic() < until:
            time.sleep(0.05)
        if not _processes_in(data):
            (data / "postmaster.pid").unlink(missing_ok=True)
            return
    left = ", ".join(map(str, _processes_in(data)))
    raise UnavailableError("postgres_failed", f"processes {left} of an earlier PostgreSQL in {data} do not end")


def _postmaster(data: Path) -> list[int]:
    """Return the first process of a running server, whose end is everyone's."""
    try:
        number = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return []
    return [number] if number in _processes_in(data) else []


def _processes_in(data: Path) -> list[int]:
    """Return the processes whose working directory is ``data``. A zombie has none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or not ours
            if (process / "cwd").readlink() == data:
                found.append(int(process.name))
    return found
