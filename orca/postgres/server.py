"""One embedded server, from start to stop: it is owned by one process, waited for with an end, and leaves nothing behind.

What it is made of is in the modules beside this one; the order in which they are called is here.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from orca.postgres.places import SUPERUSER, Places, make_data, make_socket, remove_socket, settle, socket_in, write_access
from orca.postgres.processes import end_keeper, end_leftovers, launch
from orca.postgres.programs import find_programs
from orca.postgres.said import one_line, tail
from orca_protocol.errors import UnavailableError

#: role and database of the embedded server that its owner's parts use
NAME = "orca"


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
        self._places: Places | None = None
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

    def database(self, name: str) -> str:
        """Return the URL of a database of that name, which is made if there is none: several parts, one server."""
        with psycopg.connect(self.superuser_url, connect_timeout=10, autocommit=True) as connection:
            self._make_missing(connection, name)
        return self._url(NAME, name)

    @property
    def superuser_url(self) -> str:
        """The URL for the server's superuser, for whoever owns the server."""
        return self._url(SUPERUSER, "postgres")

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
            raise UnavailableError("postgres_failed", f"the embedded PostgreSQL in {self._folder}: {one_line(error)}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and wait until nothing of it is left. Stopping twice, or what was never started, does nothing."""
        keeper, places, lock = self._keeper, self._places, self._lock
        self._keeper = self._places = self._lock = None
        try:
            if keeper is not None:
                end_keeper(keeper, self._seconds)
            if places is not None:
                end_leftovers(places.data, self._seconds)
                remove_socket(places.root)
        finally:
            if lock is not None:
                lock.close()

    @property
    def _running(self) -> Places:
        if self._places is None:
            raise RuntimeError("the server is not running")
        return self._places

    def _start(self, until: float) -> None:
        account, root = settle(self._folder, self._elsewhere)
        programs = find_programs(account, root)
        remove_socket(root)
        self._places = places = Places(root, make_socket(root, account))
        end_leftovers(places.data, self._seconds)
        make_data(programs, places, account, _left(until), is_synced=self._settings.get("fsync") != "off")
        write_access(places.root)
        self._keeper = launch(programs, places, account, self._settings)
        self._wait_for_answer(until)
        self._make_database()

    def _wait_for_answer(self, until: float) -> None:
        while True:
            try:
                psycopg.connect(self.superuser_url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if not self.is_running:
                    raise UnavailableError("postgres_failed", f"PostgreSQL ended: {tail(self._running.log)}") from error
                if time.monotonic() > until:
                    said = f"PostgreSQL did not answer in {self._seconds:.0f} s: {one_line(error)}; {tail(self._running.log)}"
                    raise UnavailableError("postgres_failed", said) from error
                time.sleep(0.05)
            else:
                return

    def _make_database(self) -> None:
        """Make role and database of the parts, which are no superusers."""
        with psycopg.connect(self.superuser_url, connect_timeout=10, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (NAME,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(NAME)))
            self._make_missing(connection, NAME)

    def _make_missing(self, connection: psycopg.Connection[TupleRow], name: str) -> None:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(NAME)))

    def _url(self, role: str, database: str) -> str:
        return _url_in(self._running.socket, role, database)


def url_of_running(folder: Path) -> str | None:
    """Return the URL for role and database ``orca`` of the server that another process of this account runs in ``folder``.

    None if there is no server there that answers and lets us in. It is good until its owner stops it.
    """
    socket = socket_in(folder.resolve())
    if socket is None:
        return None
    url = _url_in(socket, NAME, NAME)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return None
    return url


def _url_in(socket: Path, role: str, database: str) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(socket), safe='/')}"


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


def _left(until: float) -> float:
    return max(1.0, until - time.monotonic())
