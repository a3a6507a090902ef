"""The floors of the house: pyproject.toml draws them, import-linter holds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.repository import PACKAGES, ROOT, pyproject


def lint_imports(where: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", command], cwd=where, capture_output=True, text=True, check=False)


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_stands_on_a_floor() -> None:
    linter = pyproject()["tool"]["importlinter"]
    floors = next(contract for contract in linter["contracts"] if contract["id"] == "floors")
    standing = [name.strip() for floor in floors["layers"] for name in floor.split("|")]
    assert sorted(standing) == sorted(PACKAGES)
    assert sorted(linter["root_packages"]) == sorted(PACKAGES)
    acyclic = next(contract for contract in linter["contracts"] if contract["id"] == "acyclic")
    assert sorted(acyclic["ancestors"]) == sorted(PACKAGES)


MIDDLE = [
    "app",
    "api",
    "leasing",
    "reviewing",
    "gate",
    "store",
    "migrate",
    "migrations",
    "rules",
    "koii",
    "settings",
    "chain",
]


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("orca_engine/bad.py", "import orca_agent", "Floors of the house"),
        ("audit/bad.py", "import submission", "Floors of the house"),
        ("orca_protocol/bad.py", "import middle_server", "Floors of the house"),
        ("orca_agent/models/bad.py", "import middle_server", "Floors of the house"),
        ("middle_server/api/bad.py", "import orca_agent", "Floors of the house"),
        ("orca_http/bad.py", "import orca_engine", "Floors of the house"),
        ("orca_http/bad.py", "import middle_server", "Floors of the house"),
        ("orca_agent/work/bad.py", "import orca_agent.api", "Floors inside the agent"),
        ("middle_server/store/bad.py", "import middle_server.api", "Floors inside the middle server"),
        ("middle_server/rules/bad.py", "import time", "The middle server's rules"),
        ("orca_agent/models/bad.py", "import orca_agent.work", "Floors inside the agent"),
        ("orca_engine/bad.py", "def later():\n    import random", "Engine and protocol touch"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """A contract that cannot break says nothing, so a small house of the same shape is broken on purpose."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    inside = [f"orca_agent/{part}" for part in ("app", "api", "rounds", "work", "models", "tools", "store", "observe")]
    inside += [f"middle_server/{part}" for part in MIDDLE]
    for package in [*PACKAGES, *inside]:
        (tmp_path / package).mkdir(parents=True, exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
    sound = lint_imports(tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    (tmp_path / module).write_text(line + "\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert f"{contract} " in broken.stdout
