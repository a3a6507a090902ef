"""What is shipped: one wheel with our packages and nothing else, under names that nobody else claims."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.house.repository import PACKAGES, ROOT, files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel that hatchling builds from this tree."""
    where = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(where)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = where.glob("orca_node-*.whl")
    with ZipFile(built) as archive:
        return archive.namelist()


def test_holds_exactly_our_packages(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_holds_every_file_of_them_and_no_leftovers(wheel: list[str]) -> None:
    tracked = {path.relative_to(ROOT).as_posix() for path in files()}
    ours = {name for name in tracked if name.split("/")[0] in PACKAGES}
    assert {name for name in wheel if ".dist-info/" not in name} == ours


def test_carries_licence_and_command(wheel: list[str]) -> None:
    inside = {Path(name).name for name in wheel if ".dist-info/" in name}
    assert {"LICENSE", "entry_points.txt"} <= inside


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_nobody_else_owns_the_name(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"orca-node"}
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    assert [Path(place) for place in spec.submodule_search_locations] == [ROOT / package]


@pytest.mark.parametrize("folder", ["docker", "docs", "examples", "requirements", "scripts"])
def test_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
