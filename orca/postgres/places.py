"""Where the parts of one server are, and how each is made: its folder, its socket, its data, its list of who may connect.

The server's account can reach all of them; others reach neither data nor socket, and a closed home on the way stays closed.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orca.postgres.account import Account, account_of, hand_over, name_of, run, service_account
from orca.postgres.programs import major_version
from orca.postgres.said import one_line
from orca_protocol.errors import InvalidError, UnavailableError

log = logging.getLogger(__name__)

#: the role that owns the server's own database
SUPERUSER = "postgres"

_SOCKET = ".s.PGSQL.5432"
#: sun_path holds 108 bytes, the last of them zero
_SOCKET_MAX_BYTES = 107
#: what needs no quoting in PostgreSQL's list of socket directories, in a connection string and in a shell
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.+-]+")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one server are. All but ``socket`` lie in one folder that the account can reach."""

    root: Path
    socket: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "log"


def settle(folder: Path, elsewhere: Path) -> tuple[Account, Path]:
    """Return who the server runs as and the folder for its parts, which that account can reach."""
    if os.geteuid() != 0:
        me = os.geteuid()
        if folder.stat().st_uid != me:
            raise InvalidError("postgres_folder", f"{folder} belongs to another account; choose another folder")
        return Account(name_of(me), me, os.getegid(), is_other=False), folder
    link = folder / "place"
    root = link.resolve() if link.is_symlink() else folder
    account = account_of(root / "data") or service_account()
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)
    if link.is_symlink() or run(["/bin/sh", "-c", 'cd "$1"', "sh", str(root)], account).returncode == 0:
        return account, root
    elsewhere.mkdir(parents=True, exist_ok=True, mode=0o755)
    root = Path(tempfile.mkdtemp(prefix="postgres-", dir=elsewhere))
    root.chmod(0o711)
    link.symlink_to(root)
    log.info("%s cannot be reached by %s; the data are in %s", folder, account.name, root)
    return account, root


def make_socket(root: Path, account: Account) -> Path:
    """Make the directory of the socket: in the folder, or under /tmp where its path would be too long or too strange."""
    socket = root / "socket"
    if len(os.fsencode(socket / _SOCKET)) <= _SOCKET_MAX_BYTES and _PLAIN_PATH.fullmatch(str(socket)):
        socket.mkdir(mode=0o700)
        hand_over(socket, account)
        return socket
    short = Path(tempfile.mkdtemp(prefix="orca-postgres-", dir="/tmp"))
    hand_over(short, account)
    socket.symlink_to(short)
    return short


def socket_in(folder: Path) -> Path | None:
    """Return the directory of the socket of a server in ``folder``, if there is one."""
    link = folder / "place"
    socket = (link.resolve() if link.is_symlink() else folder) / "socket"
    return socket.resolve() if socket.exists() else None


def remove_socket(root: Path) -> None:
    """Remove the directory of a socket, also one that an owner who was killed left under /tmp."""
    socket = root / "socket"
    if socket.is_symlink():
        shutil.rmtree(socket.readlink(), ignore_errors=True)
        socket.unlink()
    elif socket.exists():
        shutil.rmtree(socket)


def make_data(programs: Path, places: Places, account: Account, seconds: float, *, is_synced: bool) -> None:
    """Make the data where there are none: beside, then moved, so that an interrupted start leaves nothing half made."""
    version = places.data / "PG_VERSION"
    ours = major_version(programs, account)
    if version.exists():
        if version.read_text().strip() != ours:
            said = f"{places.data} is of PostgreSQL {version.read_text().strip()}, the programs here are {ours}: dump and restore"
            raise InvalidError("postgres_version", said)
        return
    new = places.root / "data-new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    hand_over(new, account)
    command = [str(programs / "initdb"), "--pgdata", str(new), "--username", SUPERUSER, "--auth", "peer"]
    command += [] if is_synced else ["--no-sync"]
    made = run([*command, "--encoding", "UTF8", "--locale", "C", "--data-checksums"], account, seconds)
    if made.returncode != 0:
        said = one_line(made.stderr.decode(errors="replace") or made.stdout.decode(errors="replace"))
        raise UnavailableError("postgres_failed", f"initdb: {said}")
    new.rename(places.data)


def write_access(root: Path) -> None:
    """Write who may connect: local callers whom the kernel names, and of these only the owner."""
    owner = name_of(os.geteuid())
    for name, line in (("hba.conf", "local all all peer map=owner"), ("ident.conf", f'owner "{owner}" all')):
        path = root / name
        path.write_text(f"{line}\n")
        path.chmod(0o644)
