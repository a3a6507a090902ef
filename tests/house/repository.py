"""What the tests in this folder know of the repository: where it is, which files it has, what pyproject.toml says."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = frozenset(
    {
        "audit",
        "koii_chain",
        "middle_server",
        "orca",
        "orca_agent",
        "orca_engine",
        "orca_http",
        "orca_protocol",
        "orca_time",
        "proof_store",
        "submission",
    }
)
REQUIREMENTS = ("bootstrap", "dev", "fuzz", "models", "node")


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def files() -> tuple[Path, ...]:
    """Every file that is or would be committed."""
    # The checkout may belong to somebody else, as in a container.
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(path for name in sorted(set(listed.split("\0")) - {""}) if (path := ROOT / name).is_file())


def texts() -> list[tuple[str, str]]:
    """Name and content of every file that is text."""
    found = []
    for path in files():
        data = path.read_bytes()
        if b"\0" not in data:
            found.append((path.relative_to(ROOT).as_posix(), data.decode()))
    return found


def package_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    """``a/b.py`` → ``a.b``; ``a/__init__.py`` → ``a``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_of(requirement: str) -> str:
    """``PyNaCl>=1.6`` → ``pynacl``: the name as the package index compares it."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def declared() -> dict[str, str]:
    """Every requirement of pyproject.toml, wherever it stands there, by name."""
    project = pyproject()["project"]
    groups = [
        pyproject()["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject()["dependency-groups"].values(),
    ]
    return {name_of(requirement): requirement for group in groups for requirement in group}
