"""Who the server runs as, and commands run as that account.

PostgreSQL refuses to run as root, so for root there is another account; everyone else runs it as themselves. A command gets
nothing of our environment, and no signal from our terminal.
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orca_protocol.errors import UnavailableError

log = logging.getLogger(__name__)

_ACCOUNT = "orca-postgres"
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server runs as: another account where we are root, else ourselves."""

    name: str
    uid: int
    gid: int
    is_other: bool


def account_of(data: Path) -> Account | None:
    """Return the account that made ``data``, if they are there; a server only runs as the owner of its data."""
    if not data.exists() or data.stat().st_uid == 0:
        return None
    found = pwd.getpwuid(data.stat().st_uid)
    return Account(found.pw_name, found.pw_uid, found.pw_gid, is_other=True)


def service_account() -> Account:
    """Return the account that runs servers for root; made if need be, ``nobody`` where it cannot be made."""
    try:
        found = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
        tool = shutil.which("useradd", path=f"{_ENVIRONMENT['PATH']}:/usr/sbin:/sbin")
        made = tool and subprocess.run([tool, *options, _ACCOUNT], capture_output=True, check=False, timeout=30).returncode == 0
        found = pwd.getpwnam(_ACCOUNT if made else "nobody")
        log.info("PostgreSQL does not run as root; it runs as %s", found.pw_name)
    return Account(found.pw_name, found.pw_uid, found.pw_gid, is_other=True)


def name_of(uid: int) -> str:
    """Return the name of an account; PostgreSQL refuses one that has none, and so do we: UnavailableError ``postgres_failed``."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError as error:
        said = f"this process runs as uid {uid}, which has no name in /etc/passwd; PostgreSQL refuses that. Set DATABASE_URL"
        raise UnavailableError("postgres_failed", said) from error


def hand_over(path: Path, account: Account) -> None:
    """Give ``path`` to the account, if that is another than ours."""
    if account.is_other:
        os.chown(path, account.uid, account.gid)


def run(command: Sequence[str], account: Account, seconds: float = 60.0) -> subprocess.CompletedProcess[bytes]:
    """Run a command as ``account`` to its end, at most for ``seconds``. How it ended is in what is returned."""
    with start_as(account, command, subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def start_as(
    account: Account, command: Sequence[str], stdin: int, stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a command as ``account``, away from the terminal and its signals, with nothing of our environment."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd="/",
        env=_ENVIRONMENT,
        start_new_session=True,
        user=account.uid if account.is_other else None,
        group=account.gid if account.is_other else None,
        extra_groups=[] if account.is_other else None,
    )
