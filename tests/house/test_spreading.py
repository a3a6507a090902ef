"""The suite's own arrangement: what it names is there, and no module is torn apart."""

from __future__ import annotations

import pytest

from tests.house.repository import ROOT
from tests.spreading import APART, FIRST, TOGETHER, piece_of, rank


@pytest.mark.parametrize("folder", [*TOGETHER, *FIRST])
def test_a_folder_that_is_named_is_there(folder: str) -> None:
    assert list((ROOT / folder).rglob("test_*.py"))


def test_a_module_stays_whole_whatever_its_tests_are_called() -> None:
    module = "tests/unit/orca_agent/models/test_openai.py"
    assert piece_of(f"{module}::test_a[http://[::1]:8080/v1]") == piece_of(f"{module}::TestClass::test_b") == module


def test_every_type_that_is_killed_at_every_write_is_a_piece_of_its_own() -> None:
    module, _, beginning = APART.partition("::")
    assert f"def {beginning}" in (ROOT / module).read_text()
    assert piece_of(f"{APART}of_every_type[GroupChat]") != piece_of(f"{APART}of_every_type[MajorityVoting]")
    assert piece_of(f"{module}::test_a") == module


def test_networks_are_one_piece_and_go_first() -> None:
    crashes, command = "tests/network/test_crashes.py::test_a", "tests/network/test_command.py::test_b"
    assert piece_of(crashes) == piece_of(command) != piece_of("tests/walk/test_kill.py::test_c")
    places = [rank(crashes), rank("tests/walk/test_kill.py::test_c"), rank("tests/house/test_docs.py::test_d")]
    assert places == sorted(set(places))
